package manifest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/nixreg/nixreg/manifest"
	"github.com/nixreg/nixreg/manifest/digests"
	"github.com/nixreg/nixreg/store"
)

// shelf is a cache whose records a test can see, take out and exchange.
type shelf struct {
	mu      sync.Mutex
	records map[string][]byte
	written []string                                    // keys, in the order of Put
	met     func(ctx context.Context, key string) error // called by each Put before it writes; may be nil
	asked   func(ctx context.Context, key string)       // called by each Get after it has looked; may be nil
}

func (c *shelf) Get(ctx context.Context, key string) ([]byte, error) {
	c.mu.Lock()
	value, ok := c.records[key]
	c.mu.Unlock()
	if c.asked != nil {
		c.asked(ctx, key)
	}
	if !ok {
		return nil, fmt.Errorf("get %s: %w", key, fs.ErrNotExist)
	}
	return slices.Clone(value), ctx.Err()
}

func (c *shelf) Put(ctx context.Context, key string, value []byte) error {
	if c.met != nil {
		if err := c.met(ctx, key); err != nil {
			return err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.records == nil {
		c.records = make(map[string][]byte)
	}
	c.records[key] = slices.Clone(value)
	c.written = append(c.written, key)
	return ctx.Err()
}

// keys returns the keys of the records whose key starts with prefix, sorted.
func (c *shelf) keys(prefix string) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.DeleteFunc(slices.Sorted(maps.Keys(c.records)), func(k string) bool { return !strings.HasPrefix(k, prefix) })
}

// lose deletes one record, or all whose keys start with what ends in a slash.
func (c *shelf) lose(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	maps.DeleteFunc(c.records, func(k string, _ []byte) bool {
		return k == key || strings.HasSuffix(key, "/") && strings.HasPrefix(k, key)
	})
}

// copy is a cache with the same records, as a new process finds them.
func (c *shelf) copy() *shelf {
	c.mu.Lock()
	defer c.mu.Unlock()
	return &shelf{records: maps.Clone(c.records)}
}

// faulty is a store whose answers a test can spoil. A nil field spoils nothing.
type faulty struct {
	store.Store
	object func(context.Context, store.Path) error
	open   func(context.Context, store.Path) error
	list   func(context.Context) error
}

func (f *faulty) Object(ctx context.Context, p store.Path) (*store.Object, error) {
	if f.object != nil {
		if err := f.object(ctx, p); err != nil {
			return nil, err
		}
	}
	return f.Store.Object(ctx, p)
}

func (f *faulty) Open(ctx context.Context, p store.Path) (store.Tree, error) {
	if f.open != nil {
		if err := f.open(ctx, p); err != nil {
			return nil, err
		}
	}
	return f.Store.Open(ctx, p)
}

func (f *faulty) List(ctx context.Context) iter.Seq2[store.Entry, error] {
	if f.list != nil {
		if err := f.list(ctx); err != nil {
			return func(yield func(store.Entry, error) bool) { yield(store.Entry{}, err) }
		}
	}
	return f.Store.List(ctx)
}

// unreadable is s where the files of one path cannot be read.
func unreadable(s store.Store, p store.Path) store.Store {
	return &faulty{Store: s, open: func(_ context.Context, q store.Path) error {
		if p == q {
			return fmt.Errorf("open %s: %w", q, fs.ErrPermission)
		}
		return nil
	}}
}

// journal is a log that counts.
type journal struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.Write(p)
}

// made is how many images were made.
func (j *journal) made() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Count(j.b.String(), `msg="image made"`)
}

// logged makes a Source with a cache and a log.
func logged(t *testing.T, cache digests.Cache, stores ...store.Store) (*manifest.Source, *journal) {
	t.Helper()
	j := new(journal)
	src, err := manifest.NewSource(manifest.Config{Stores: stores, Cache: cache, Log: slog.New(slog.NewTextHandler(j, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { src.Close() })
	return src, j
}

func withCache(t *testing.T, cache digests.Cache, stores ...store.Store) *manifest.Source {
	t.Helper()
	src, _ := logged(t, cache, stores...)
	return src
}

// known asks for a manifest by its digest.
func known(src *manifest.Source, repository string, d v1.Hash) error {
	got, err := src.Manifest(ctx, manifest.Request{Repository: repository, Digest: d})
	if err == nil && (got.Digest != d || sha256Hex(got.Data) != d.Hex) {
		return fmt.Errorf("%s is %s with the bytes of %s", d, got.Digest, sha256Hex(got.Data))
	}
	return err
}

// intact reads a blob and compares its bytes with its digest; an error matching errOther if they are others.
func intact(src *manifest.Source, repository string, d v1.Hash) error {
	b, err := src.Blob(ctx, repository, d)
	if err != nil {
		return err
	}
	var bytes bytes.Buffer
	if err := b.WriteRange(ctx, &bytes, 0, b.Size()); err != nil {
		return err
	}
	if got := sha256Hex(bytes.Bytes()); got != d.Hex {
		return fmt.Errorf("blob %s has the bytes of %s: %w", d, got, errOther)
	}
	return nil
}

var errOther = errors.New("other bytes than the digest's")

// blobsOf are the digests of an image's layers and config.
func blobsOf(r *manifest.Report) []v1.Hash {
	out := []v1.Hash{r.Config}
	for _, l := range r.Layers {
		out = append(out, l.Digest)
	}
	return out
}

// nowhere is a digest nothing has.
func nowhere(digit string) v1.Hash {
	return v1.Hash{Algorithm: "sha256", Hex: strings.Repeat(digit, 64)}
}

// madeOf is the first content of an image.
func madeOf(r *manifest.Report) string { return r.Layers[len(r.Layers)-1].Contents[0] }
