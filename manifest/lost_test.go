package manifest_test

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nixreg/nixreg/manifest"
	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/storetest"
)

// TestLostBlobRecordAfterTheSearch: what was searched for in vain does not keep a pull by tag from restoring a lost record.
func TestLostBlobRecordAfterTheSearch(t *testing.T) {
	m, _, _ := withHello()
	full := new(shelf)
	r := inspect(t, withCache(t, full, m), "hello", "latest")
	for _, key := range full.keys("") {
		cache := full.copy()
		src := withCache(t, cache, m)
		get(t, src, "hello", "latest")
		if _, err := src.Blob(ctx, "hello", nowhere("1")); !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		cache.lose(key)
		get(t, src, "hello", "latest")
		for _, d := range blobsOf(r) {
			if err := intact(src, "hello", d); err != nil {
				t.Errorf("without %s: %v", key, err)
			}
		}
	}
}

// TestLostDocumentOfALayout: no record of a document without its bytes is written when the document's own record was lost.
func TestLostDocumentOfALayout(t *testing.T) {
	f := newFinished(t, zstandard)
	dir := t.TempDir()
	writeAll(t, filepath.Join(dir, "app"), f.layout(t))
	cache := new(shelf)
	cfg := manifest.Config{Stores: []store.Store{storetest.New()}, Images: []string{dir}, Cache: cache}
	get(t, source(t, cfg), "app", "v1")
	for _, key := range cache.keys("manifest/") {
		lost := cache.copy()
		lost.lose(key)
		cfg.Cache = watchful{lost, t}
		if d := get(t, source(t, cfg), "app", "v1"); string(d.Data) != f.manifest(t) {
			t.Errorf("without %s: %s", key, d.Data)
		}
	}
}

// watchful fails the test when a record of a document has no bytes.
type watchful struct {
	*shelf
	t *testing.T
}

func (c watchful) Put(ctx context.Context, key string, value []byte) error {
	if strings.HasPrefix(key, "manifest/") && strings.Contains(string(value), `"data":null`) {
		c.t.Errorf("%s is %s", key, value)
	}
	return c.shelf.Put(ctx, key, value)
}
