// Package blobs keeps content-addressed blobs in a directory, within a number of bytes, and gives a blob to readers while it
// is fetched.
//
// It owns the names of the files, how many fetches run at once, that they fit on the disk together, and that nobody gets the
// last byte of a blob that does not have its digest. Package diskcache owns the files. The package must not know where blobs
// come from or what they mean: neither HTTP nor registries.
//
//	cache, err := blobs.Open(blobs.Options{Dir: "/var/cache/blobs", Max: 10 << 30})
//	defer cache.Close()
//	hub := cache.Origin(0)
//	b, err := hub.Blob(ctx, digest, fetch)
//	err = b.WriteRange(ctx, w, 0, b.Size())
package blobs

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/nixreg/nixreg/internal/diskcache"
	"github.com/nixreg/nixreg/internal/flight"
)

const (
	// smallSize is up to where a blob is small. Small blobs do not wait behind large ones: a manifest of some hundred bytes is
	// no reason to wait for layers.
	smallSize = 4 << 20
	// unkeptSpace is how many bytes of blobs are fetched at once where nothing is kept.
	unkeptSpace = 1 << 30
	// spareSpace is how many bytes the cache leaves free on its disk, where others, too, write.
	spareSpace = 128 << 20
	// maxTries is how often a blob is looked for that changes meanwhile.
	maxTries = 4
)

// ErrContent is matched by the error about an origin whose bytes are not those of the digest, or that has fewer or more of them
// than it announced.
var ErrContent = errors.New("content is not what was asked for")

// Options says where a Cache is and how large it gets.
type Options struct {
	Dir string // is made if it is absent
	// Max is how many bytes are kept, in files that nobody reads now. Fetches wait for each other so that their blobs fit into
	// Max together; a blob of unknown size counts as a quarter of Max. A larger blob goes to its readers through a temporary
	// file, one such blob at a time. With 0 nothing is kept.
	Max int64
	Log *slog.Logger // nil is silence
}

// Cache is safe for concurrent use, by one process at a time.
type Cache struct {
	files   *diskcache.Cache
	space   flight.Queue // bytes, for what will be kept
	passing flight.Queue // bytes, for what will not
}

// A cache's directory holds sha256/ab/<64 hex digits> for what is complete, and incoming/blob-<random> for what is not.
var layout = diskcache.Layout{
	Keys:       "sha256/??/*",
	Incomplete: "incoming/blob-*",
	Sum: func(key string) (sum [sha256.Size]byte, ok bool) {
		name := key[strings.LastIndexByte(key, '/')+1:]
		if len(name) != hex.EncodedLen(len(sum)) || name != strings.ToLower(name) || key != keyOf(name) {
			return sum, false
		}
		_, err := hex.Decode(sum[:], []byte(name))
		return sum, err == nil
	},
}

// keyOf is the key for the hex digits of a digest.
func keyOf(digits string) string { return "sha256/" + digits[:2] + "/" + digits }

// parse returns the key of a digest. The error matches [fs.ErrInvalid].
func parse(d v1.Hash) (string, error) {
	if d.Algorithm == "sha256" && len(d.Hex) == hex.EncodedLen(sha256.Size) {
		if _, ok := layout.Sum(keyOf(d.Hex)); ok {
			return keyOf(d.Hex), nil
		}
	}
	return "", fmt.Errorf("digest %.100q: %w", d.String(), fs.ErrInvalid)
}

// Open opens the cache in a directory and removes what a killed process left half written there. Other files are left alone. What
// is kept beyond Max is removed. The caller closes the Cache.
func Open(o Options) (*Cache, error) {
	files, err := diskcache.New(diskcache.Options{Dir: o.Dir, Layout: layout, Max: o.Max, Spare: spareSpace, Sync: true, Log: o.Log})
	if err != nil {
		return nil, fmt.Errorf("blobs: %w", err)
	}
	return &Cache{
		files:   files,
		space:   flight.Queue{Running: int(o.Max), Small: smallSize, Drop: true},
		passing: flight.Queue{Running: int(cmp.Or(o.Max, unkeptSpace)), Small: smallSize, Drop: true},
	}, nil
}

// Kept lists the files of a cache's directory, each with the SHA-256 that its bytes must have. An absent directory has none. No
// process may have the cache open.
func Kept(dir string) (map[string][sha256.Size]byte, error) { return diskcache.List(dir, layout) }

// Close ends the fetches and waits for them. Their callers, and those who come later, get an error matching [fs.ErrClosed]. A
// second Close does nothing.
func (c *Cache) Close() error { return c.files.Close() }

// Has tells whether a blob is kept, and its size. Its file may still turn out to be damaged.
func (c *Cache) Has(d v1.Hash) (size int64, ok bool) {
	key, err := parse(d)
	if err != nil {
		return 0, false
	}
	return c.files.Has(key)
}

// Stats is what a Cache holds.
type Stats struct {
	Blobs   int   // that are kept
	Kept    int64 // bytes of them
	Growing int64 // bytes that have arrived of what is fetched and will be kept
}

// Stats counts.
func (c *Cache) Stats() Stats {
	s := c.files.Stats()
	return Stats{Blobs: s.Files, Kept: s.Bytes, Growing: s.Growing}
}

// Bytes returns the whole of a small blob that is kept, verified. A blob of more than most bytes gives an error matching
// [ErrContent], a blob that is not kept one matching [fs.ErrNotExist].
func (c *Cache) Bytes(ctx context.Context, d v1.Hash, most int64) ([]byte, error) {
	key, err := parse(d)
	if err != nil {
		return nil, err
	}
	for try := 1; ; try++ {
		f, err := c.files.Open(ctx, key)
		if err != nil {
			return nil, fmt.Errorf("blob %s: %w", d, err)
		}
		if f.Size() > most {
			f.Close()
			return nil, fmt.Errorf("blob %s: %w: %d bytes, where %d are allowed", d, ErrContent, f.Size(), most)
		}
		var buf bytes.Buffer
		buf.Grow(int(f.Size()) + bytes.MinRead)
		_, err = f.WriteRange(ctx, &buf, 0, f.Size())
		f.Close()
		if err == nil {
			return buf.Bytes(), nil
		}
		if !errors.Is(err, diskcache.ErrChanged) || try == maxTries {
			return nil, fmt.Errorf("blob %s: %w", d, err)
		}
	}
}

// Put keeps data, which must have the digest d: else the error matches [ErrContent]. Data that is larger than the whole cache is
// not kept, which is no error. After Put, neither a kill nor a power cut harms the blob, but it may be absent after a power cut.
// Other errors are about the disk.
func (c *Cache) Put(ctx context.Context, d v1.Hash, data []byte) error {
	key, err := parse(d)
	if err != nil {
		return err
	}
	if want, _ := layout.Sum(key); sha256.Sum256(data) != want {
		return fmt.Errorf("blob %s: %w: the bytes have another digest", d, ErrContent)
	}
	f, err := c.files.Open(ctx, key)
	if err == nil {
		f.Close() // a use
		return nil
	}
	if !errors.Is(err, diskcache.ErrAbsent) {
		return fmt.Errorf("blob %s: %w", d, err)
	}
	fill, err := c.files.Create()
	if err != nil {
		return fmt.Errorf("blob %s: %w", d, err)
	}
	if _, err = fill.Write(data); err != nil {
		fill.Discard()
	} else {
		err = fill.Commit(key)
	}
	if err != nil {
		return fmt.Errorf("blob %s: %w", d, err)
	}
	return nil
}
