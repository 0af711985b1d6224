package layer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/nixreg/nixreg/internal/flight"
	"github.com/nixreg/nixreg/internal/lru"
	"github.com/nixreg/nixreg/manifest/digests"
	"github.com/nixreg/nixreg/manifest/layer/gunzip"
	"github.com/nixreg/nixreg/store"
)

// bodiesWeight bounds the memory of the tables that are kept between requests, in bytes.
const bodiesWeight = 64 << 20

// Info is what is remembered of a recipe's bytes.
type Info struct {
	DiffID v1.Hash `json:"diffID"` // of the tar
	Tar    int64   `json:"tar"`    // bytes of the tar
	Digest v1.Hash `json:"digest"` // of the bytes as they are served; without an encoding the diffID
	Size   int64   `json:"size"`   // bytes as they are served
	Stamp  string  `json:"stamp"`  // the state of the files when they were hashed
	// Whiteouts are names that runtimes take for whiteouts, at most a few.
	Whiteouts []string `json:"whiteouts,omitempty"`
}

// body is the size that the recipe's body has.
func (i Info) body(r Recipe) int64 {
	if r.Packed != "" {
		return i.Size
	}
	return i.Tar
}

// Maker makes layers from recipes. Safe for concurrent use; its fields must not change after the first call.
type Maker struct {
	Store store.Store
	// Cache may be nil for who hashes nothing.
	Cache digests.Cache
	Group *flight.Group
	// Loose, if set, reports whether the NarHash of a path is no hash of its contents, but changes at least when they do.
	// What was recorded of such a path is served for as long as its files have the same bytes.
	Loose func(store.Path) bool
	// Scanning bounds how many archives are looked through at the same time.
	Scanning *flight.Queue
	// Hashing bounds how many layers are hashed at the same time.
	Hashing *flight.Queue
	// Progress, if set, is called with the length of each piece that was hashed, from many goroutines.
	Progress func(bytes int64)
	// Blobs keeps encoded layers; nil makes them anew for each request. Layers without an encoding need no keeping.
	Blobs *Blobs
	// Uncached bounds how many encoded layers are made at the same time for one client each, because they are not kept.
	Uncached *flight.Queue

	mu       sync.Mutex
	bodies   lru.Cache[string, cachedBody]
	archives lru.Cache[string, *contents]
	indexes  lru.Cache[string, *gunzip.Index]
	indexed  int64 // bytes that the indexes may take; 0 is indexesWeight
	slack    int64 // see [Maker.limit]; 0 is unpackedSlack
}

// Remembers reports whether the digest of the recipe's bytes is known to be want.
func (m *Maker) Remembers(ctx context.Context, r Recipe, want v1.Hash) bool {
	info, err := m.remembered(ctx, r)
	return err == nil && info.Digest == want
}

// Describe returns the digest and size of the recipe's bytes: from the cache, or by hashing them, once however many
// ask at the same time. A store path that is not valid any more, or that was built anew with other contents, gives an
// error matching [fs.ErrNotExist].
func (m *Maker) Describe(ctx context.Context, r Recipe) (Info, error) {
	if info, err := m.remembered(ctx, r); err == nil {
		return info, nil
	}
	return m.hash(ctx, r, "")
}

// Open returns the recipe's bytes, whose digest is to be want. If they were other bytes now, because a path is gone or
// its files were changed behind Nix's back, the error matches [fs.ErrNotExist].
func (m *Maker) Open(ctx context.Context, r Recipe, want v1.Hash) (*Layer, error) {
	l, err := m.openLayer(ctx, r, want)
	if err != nil {
		return nil, m.replaced(r, err)
	}
	return l, nil
}

// Size is that of the layer which Open returns, for those who read nothing of it. In a distant store no path is opened for it:
// that a cache cannot give a path any more, or that a file was changed behind Nix's back, Open finds out.
func (m *Maker) Size(ctx context.Context, r Recipe, want v1.Hash) (int64, error) {
	refs := slices.Concat(r.Objects, r.Via)
	if store.IsDistant(m.Store) && !slices.ContainsFunc(refs, func(ref Ref) bool { return m.loose(ref.Path) }) {
		if _, err := m.check(ctx, r); err != nil {
			return 0, m.replaced(r, err)
		}
		if info, err := m.remembered(ctx, r); err == nil && info.Digest == want {
			return info.Size, nil
		}
	}
	l, err := m.Open(ctx, r, want)
	if err != nil {
		return 0, err
	}
	return l.Size(), nil
}

func (m *Maker) openLayer(ctx context.Context, r Recipe, want v1.Hash) (*Layer, error) {
	epoch, err := m.check(ctx, r)
	if err != nil {
		return nil, err
	}
	b, err := m.body(ctx, r, epoch)
	if err != nil {
		return nil, err
	}
	info, err := m.remembered(ctx, r)
	if err != nil || info.Stamp != b.stamp() {
		m.forget(r)
		if info, err = m.hash(ctx, r, info.Stamp); err != nil {
			return nil, err
		}
		if b, err = m.body(ctx, r, epoch); err != nil {
			return nil, err
		}
	}
	if info.Digest != want || info.Stamp != b.stamp() || info.body(r) != b.size() {
		return nil, fmt.Errorf("layer %s%s: its files were changed: %w", want, r.first(), fs.ErrNotExist)
	}
	return &Layer{maker: m, recipe: r, info: info, body: b}, nil
}

func recipeKey(r Recipe) string { return "layer/" + r.ID() }

func (m *Maker) remembered(ctx context.Context, r Recipe) (info Info, err error) {
	b, err := m.Cache.Get(ctx, recipeKey(r))
	if err != nil {
		return info, err
	}
	return info, json.Unmarshal(b, &info)
}

// check sees that the store still has what the recipe names; a distant store is asked for several paths at a time. The epoch
// changes when a path was deleted and added again: its files are new ones then. Of loose paths it changes with the NarHash,
// and the stamps of the files decide.
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
		if m.loose(ref.Path) {
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

// hash hashes the recipe's bytes, unless another did meanwhile; a record with the stale stamp counts as none.
func (m *Maker) hash(ctx context.Context, r Recipe, stale string) (Info, error) {
	return flight.Once(ctx, m.Group, recipeKey(r)+" not "+stale, func(ctx context.Context) (Info, error) {
		if info, err := m.remembered(ctx, r); err == nil && info.Stamp != stale {
			return info, nil
		}
		release, err := m.Hashing.Acquire(ctx)
		if err != nil {
			return Info{}, err
		}
		defer release()
		epoch, err := m.check(ctx, r)
		if err != nil {
			return Info{}, err
		}
		info, err := m.measure(ctx, r, epoch)
		if err != nil {
			return Info{}, fmt.Errorf("hash layer: %w", err)
		}
		b, err := json.Marshal(info)
		if err != nil {
			return Info{}, err
		}
		return info, m.Cache.Put(ctx, recipeKey(r), b)
	})
}

// measure hashes a fresh body: one from the cache may describe files as they were.
func (m *Maker) measure(ctx context.Context, r Recipe, epoch string) (Info, error) {
	b, err := m.open(ctx, r)
	if err != nil {
		return Info{}, err
	}
	info, err := m.digest(ctx, r, b)
	if err != nil {
		return Info{}, err
	}
	m.keep(r, epoch, b)
	info.Stamp, info.Whiteouts = b.stamp(), whiteouts(b)
	return info, nil
}

// digest reads the whole of a body.
func (m *Maker) digest(ctx context.Context, r Recipe, b body) (info Info, err error) {
	if r.Encoding != Tar {
		return m.encodeAndKeep(ctx, r, b)
	}
	if r.Packed != "" {
		return m.digestPacked(ctx, r, b)
	}
	h := newHasher(m.progress())
	err = b.writeRange(ctx, m.exact(&r), h, 0, b.size())
	info.DiffID, info.Tar = h.sum()
	info.Digest, info.Size = info.DiffID, info.Tar
	if err == nil && info.Tar != b.size() {
		err = fmt.Errorf("%d bytes where %d were announced: %w", info.Tar, b.size(), io.ErrUnexpectedEOF)
	}
	return info, err
}

func (m *Maker) progress() func(int64) {
	if m.Progress == nil {
		return func(int64) {}
	}
	return m.Progress
}

func (m *Maker) body(ctx context.Context, r Recipe, epoch string) (body, error) {
	if b := m.cached(r, epoch); b != nil {
		return b, nil
	}
	b, err := m.open(ctx, r)
	if err != nil {
		return nil, err
	}
	m.keep(r, epoch, b)
	return b, nil
}

// Layer is the bytes of a recipe whose digest is known. It is the Blob that a registry serves. Safe for concurrent use.
type Layer struct {
	maker  *Maker
	recipe Recipe
	info   Info
	body   body
}

// Size is the number of bytes, encoded if the recipe has an encoding.
func (l *Layer) Size() int64 { return l.info.Size }

// DiffID is the digest of the uncompressed bytes.
func (l *Layer) DiffID() v1.Hash { return l.info.DiffID }

// WriteRange writes n bytes from offset off on. A file that is no longer what was hashed gives an error matching
// [store.ErrChanged] and [fs.ErrNotExist], before the last byte was written.
func (l *Layer) WriteRange(ctx context.Context, w io.Writer, off, n int64) error {
	var err error
	switch {
	case l.recipe.Encoding != Tar:
		err = l.writeEncoded(ctx, w, off, n)
	case l.recipe.Zstd:
		err = l.writeDecoded(ctx, w, off, n)
	default:
		err = l.body.writeRange(ctx, l.maker.exact(&l.recipe), w, off, n)
	}
	if errors.Is(err, store.ErrChanged) {
		l.maker.forget(l.recipe)
		return fmt.Errorf("layer %s: %w: %w", l.info.DiffID, err, fs.ErrNotExist)
	}
	return err
}
