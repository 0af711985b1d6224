package layer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/nixreg/nixreg/internal/flight"
	"github.com/nixreg/nixreg/internal/lru"
	"github.com/nixreg/nixreg/manifest/digests"
	"github.com/nixreg/nixreg/manifest/layer/gunzip"
	"github.com/nixreg/nixreg/store"
)

// Compressed bytes may unpack to unpackedRatio times their size and unpackedSlack bytes. Gzip cannot reach that ratio; zstd can
// reach about 30,000.
//
// Source: RFC 1951: at best 258 bytes are two bits.
const (
	unpackedRatio = 1100
	unpackedSlack = 1 << 30
)

// bodiesWeight bounds the memory of the cache of bodies in bytes.
const bodiesWeight = 64 << 20

// bodyFresh is the time for which a body is used without a check of its files. A change of a file in that time is found when the
// file is read, but a client may have the first part of the layer by then.
const bodyFresh = time.Second

// Maker makes layers from recipes. Safe for concurrent use; its fields must not change after the first call.
type Maker struct {
	Store store.Store
	// Cache keeps the records of layers and archives. It may be nil if no layer is hashed.
	Cache digests.Cache
	Group *flight.Group
	// Mutable, if set, reports whether the files of a path may change. The NarHash of such a path is no hash of its contents,
	// but it changes whenever they do. Recorded layers of the path are served as long as their own files have the same bytes.
	Mutable func(store.Path) bool
	// Scanning bounds the number of archives that are read as a whole at the same time.
	Scanning *flight.Queue
	// Hashing bounds the number of layers that are hashed at the same time.
	Hashing *flight.Queue
	// Progress, if set, is called with the length of each chunk that was hashed, by several goroutines.
	Progress func(bytes int64)
	// Blobs is the cache of encoded layers. If it is nil, each request encodes its layer again.
	Blobs *Blobs
	// Uncached bounds the number of requests at the same time that encode or decompress a layer for themselves only.
	Uncached *flight.Queue

	mu       sync.Mutex
	bodies   lru.Cache[string, cachedBody]
	archives lru.Cache[string, *contents]
	indexes  lru.Cache[string, *gunzip.Index]
	indexed  int64 // bound of indexes in bytes; 0 is indexesWeight
	slack    int64 // see [Maker.limit]; 0 is unpackedSlack
}

// Info is the record of a recipe's bytes.
type Info struct {
	DiffID v1.Hash `json:"diffID"` // of the tar
	Tar    int64   `json:"tar"`    // bytes of the tar
	Digest v1.Hash `json:"digest"` // of the bytes that are served; without an encoding it is the diffID
	Size   int64   `json:"size"`   // bytes that are served
	Stamp  string  `json:"stamp"`  // of the files that were hashed
	// Whiteouts are the first few names of files that runtimes take for whiteouts.
	Whiteouts []string `json:"whiteouts,omitempty"`
}

// body is the size of the recipe's body.
func (i Info) body(r Recipe) int64 {
	if r.Packed != "" {
		return i.Size
	}
	return i.Tar
}

func recipeKey(r Recipe) string { return "layer/" + r.ID() }

func (m *Maker) remembered(ctx context.Context, r Recipe) (info Info, err error) {
	b, err := m.Cache.Get(ctx, recipeKey(r))
	if err != nil {
		return info, err
	}
	return info, json.Unmarshal(b, &info)
}

// cachedBody is a body with the epoch of its paths, see [Maker.check].
type cachedBody struct {
	epoch string
	body  body
	made  time.Time
}

// cached returns a fresh body of this epoch, or nil.
func (m *Maker) cached(r Recipe, epoch string) body {
	c, ok := m.bodies.Get(r.plain().ID())
	if !ok || c.epoch != epoch || time.Since(c.made) > bodyFresh {
		return nil
	}
	return c.body
}

func (m *Maker) keep(r Recipe, epoch string, b body) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.bodies.Max = bodiesWeight
	m.bodies.Put(r.plain().ID(), cachedBody{epoch, b, time.Now()}, b.weight())
}

func (m *Maker) forget(r Recipe) { m.bodies.Delete(r.plain().ID()) }

func (m *Maker) mutable(p store.Path) bool { return m.Mutable != nil && m.Mutable(p) }

func (m *Maker) anyMutable(r Recipe) bool {
	return slices.ContainsFunc(r.Objects, func(ref Ref) bool { return m.mutable(ref.Path) })
}

// check verifies that the store has the recipe's paths with their NarHashes; a remote store is asked for several paths at a time.
// The epoch changes when a path is deleted and added again, and then has new files. For a mutable path, whose files are checked by
// their stamps, the epoch changes with the NarHash.
func (m *Maker) check(ctx context.Context, r Recipe) (epoch string, err error) {
	refs := slices.Concat(r.Objects, r.Via)
	paths := make([]store.Path, len(refs))
	for i, ref := range refs {
		paths[i] = ref.Path
	}
	objects, err := store.Objects(ctx, m.Store, paths...)
	if err != nil {
		return "", err
	}
	for _, ref := range refs {
		i, _ := slices.BinarySearchFunc(objects, ref.Path, func(o *store.Object, p store.Path) int { return strings.Compare(string(o.Path), string(p)) })
		obj := objects[i]
		if m.mutable(ref.Path) {
			epoch += obj.NarHash.String() + " "
			continue
		}
		if obj.NarHash != ref.NarHash {
			return "", replaced(ref.Path)
		}
		epoch += strconv.FormatInt(obj.Registered, 36) + " "
	}
	return epoch, nil
}

func (m *Maker) exact(r *Recipe) store.Store { return exact{m.Store, r} }

// replaced makes errors about damaged or truncated files of a mutable path match fs.ErrNotExist: other files have replaced them.
func (m *Maker) replaced(r Recipe, err error) error {
	for _, kind := range []error{fs.ErrInvalid, errors.ErrUnsupported, io.ErrUnexpectedEOF} {
		if errors.Is(err, kind) && m.anyMutable(r) {
			return fmt.Errorf("layer%s: its files were changed: %v: %w", r.first(), err, fs.ErrNotExist)
		}
	}
	return err
}

// limit is the number of bytes that size bytes may unpack to.
func (m *Maker) limit(size int64) int64 {
	slack := m.slack
	if slack == 0 {
		slack = unpackedSlack
	}
	if size > (math.MaxInt64-slack)/unpackedRatio {
		return math.MaxInt64 - 1
	}
	return size*unpackedRatio + slack
}

func (m *Maker) progress() func(int64) {
	if m.Progress == nil {
		return func(int64) {}
	}
	return m.Progress
}
