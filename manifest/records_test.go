package manifest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/nixreg/nixreg/manifest"
	"github.com/nixreg/nixreg/manifest/document"
	"github.com/nixreg/nixreg/manifest/layer"
	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/storetest"
)

// TestLostRecords takes the records away one at a time: a pull by tag gives the same image, and all its blobs, whether
// the process has made the image before or not.
func TestLostRecords(t *testing.T) {
	m, _, _ := withHello()
	full := new(shelf)
	r := inspect(t, withCache(t, full, m), "hello", "latest")
	get(t, withCache(t, full, m), "hello", "latest")
	for _, key := range full.keys("") {
		cache := full.copy()
		same := withCache(t, cache, m)
		get(t, same, "hello", "latest")
		for name, src := range map[string]*manifest.Source{"same process": same, "restart": withCache(t, cache, m)} {
			cache.lose(key)
			if got := inspect(t, src, "hello", "latest").Manifest; got != r.Manifest {
				t.Errorf("without %s, %s: manifest is %s, not %s", key, name, got, r.Manifest)
			}
			for _, d := range blobsOf(r) {
				if err := intact(src, "hello", d); err != nil {
					t.Errorf("without %s, %s: %v", key, name, err)
				}
			}
		}
	}
}

// TestLostAfterTheSearch: what was searched for in vain is searched for again after a while: a record may have been lost.
func TestLostAfterTheSearch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, _, _ := withHello()
		cache := new(shelf)
		src := withCache(t, cache, m)
		r := inspect(t, src, "hello", "latest")
		if _, err := src.Blob(ctx, "hello", nowhere("1")); !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		cache.lose("blob/")
		time.Sleep(time.Minute) // of the bubble's clock
		for _, d := range blobsOf(r) {
			if err := intact(src, "hello", d); err != nil {
				t.Error(err)
			}
		}
	})
}

// TestLostLinks: what was searched for in vain does not keep a pull by tag from restoring what a repository has.
func TestLostLinks(t *testing.T) {
	m, _, _ := withHello()
	full := new(shelf)
	r := inspect(t, withCache(t, full, m), "hello", "latest")
	for _, key := range slices.Concat(full.keys("link/"), full.keys("manifest/"), full.keys("layer/"), full.keys("image/")) {
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
		if err := known(src, "hello", r.Manifest); err != nil {
			t.Errorf("without %s: %v", key, err)
		}
	}
}

// TestDamagedRecords exchanges the records of manifests and configs for others of the right form.
func TestDamagedRecords(t *testing.T) {
	m, _, _ := withHello()
	full := new(shelf)
	r := inspect(t, withCache(t, full, m), "hello", "latest")
	for _, key := range append(full.keys("manifest/"), "blob/"+r.Config.String()) {
		for _, value := range []string{`{"inline":"eA==","mediaType":"text/plain","data":"eA=="}`, `{"recipe":`, ``, `null`} {
			cache := full.copy()
			src := withCache(t, cache, m)
			if err := cache.Put(ctx, key, []byte(value)); err != nil {
				t.Fatal(err)
			}
			_, hex, _ := strings.Cut(key, ":")
			d, ask := v1.Hash{Algorithm: "sha256", Hex: hex}, known
			if d == r.Config {
				ask = intact
			}
			if err := ask(src, "hello", d); err != nil {
				t.Errorf("%s is %q: %v", key, value, err)
			}
		}
	}
}

// TestWipedInOneProcess: all records go while the process still remembers the image.
func TestWipedInOneProcess(t *testing.T) {
	m, _, _ := withHello()
	for i := range 3 {
		cache := new(shelf)
		src := withCache(t, cache, m)
		r := inspect(t, src, "hello", "latest")
		clear(cache.records)
		if err := intact(src, "hello", blobsOf(r)[i]); err != nil {
			t.Error(err)
		}
		if err := known(src, "hello", r.Manifest); err != nil {
			t.Error(err)
		}
	}
}

// TestManifestsBelongToRepositories: a digest is served where an image has it, not elsewhere.
func TestManifestsBelongToRepositories(t *testing.T) {
	m, _, _ := withHello()
	src := newSource(t, "", m)
	d := get(t, src, "hello", "latest").Digest
	if err := known(src, "lib", d); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the manifest of hello in lib: %v", err)
	}
	if err := known(src, "hello", d); err != nil {
		t.Error(err)
	}
}

var errFull = errors.New("disk full")

// TestCacheFailsHalfway: at each write the disk may become full, or the process be killed. What is served by the next
// one has the right bytes, by tag and by digest.
func TestCacheFailsHalfway(t *testing.T) {
	m, _, _ := withHello()
	full := new(shelf)
	r := inspect(t, withCache(t, full, m), "hello", "latest")
	for n := range len(full.written) {
		puts := 0
		cache := &shelf{met: func(context.Context, string) error {
			if puts++; puts > n {
				return fmt.Errorf("put: %w", errFull)
			}
			return nil
		}}
		src, err := manifest.NewSource(manifest.Config{Stores: []store.Store{m}, Cache: cache, Workers: 1})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := src.Inspect(ctx, "hello", "latest"); !errors.Is(err, errFull) {
			t.Errorf("after %d writes: %v", n, err)
		}
		src.Close()
		for _, d := range blobsOf(r) {
			if err := intact(withCache(t, cache.copy(), m), "hello", d); err != nil {
				t.Errorf("after %d writes, blob by digest: %v", n, err)
			}
		}
		if err := known(withCache(t, cache.copy(), m), "hello", r.Manifest); err != nil {
			t.Errorf("after %d writes, manifest by digest: %v", n, err)
		}
		pull(t, withCache(t, cache.copy(), m), "hello", "latest")
	}
}

// TestOrderOfRecords: what a record names is written before it, so that no record ever leads nowhere.
func TestOrderOfRecords(t *testing.T) {
	m := storetest.New()
	lib := m.Add("lib-1", storetest.Files{"lib/x": storetest.File("x")})
	m.Add("hello-1", storetest.Files{"bin/hello": elf(machineARM64), "lib": storetest.Link(lib.Abs())}, lib)
	m.Add("hello-1", storetest.Files{"bin/hello": elf(machineAMD64), "lib": storetest.Link(lib.Abs())}, lib)
	cache := new(shelf)
	get(t, withCache(t, cache, m), "hello", "1")
	written := make(map[string]bool)
	for _, key := range cache.written {
		for _, child := range namedBy(t, key, cache.records[key]) {
			if !written[child] {
				t.Errorf("%s is written before %s", key, child)
			}
		}
		if d, ok := strings.CutPrefix(key, "link/hello/"); ok && !written["blob/"+d] && !written["manifest/"+d] {
			t.Errorf("%s is written before what it leads to", key)
		}
		written[key] = true
	}
	if len(cache.keys("manifest/")) != 6 || len(cache.keys("image/")) != 2 {
		t.Errorf("records are %s", strings.Join(slices.Sorted(maps.Keys(cache.records)), "\n"))
	}
}

// namedBy returns the keys of the records that a record leads to.
func namedBy(t *testing.T, key string, value []byte) []string {
	t.Helper()
	var record struct {
		Config v1.Hash
		Layers []document.ImageLayer
		Data   []byte
		Recipe *layer.Recipe
	}
	if len(value) == 0 { // a link
		return nil
	}
	if err := json.Unmarshal(value, &record); err != nil {
		t.Fatalf("%s: %v", key, err)
	}
	switch kind, _, _ := strings.Cut(key, "/"); {
	case kind == "image":
		out := []string{"blob/" + record.Config.String()}
		for _, l := range record.Layers {
			out = append(out, "blob/"+l.Digest.String())
		}
		return out
	case kind == "manifest":
		return namedByManifest(t, record.Data)
	case kind == "blob" && record.Recipe != nil:
		return []string{"layer/" + record.Recipe.ID()}
	}
	return nil
}

func namedByManifest(t *testing.T, data []byte) (out []string) {
	t.Helper()
	var doc struct {
		Config            *v1.Descriptor
		Layers, Manifests []v1.Descriptor
	}
	if err := json.Unmarshal(data, &doc); err != nil {
		t.Fatal(err)
	}
	for _, child := range doc.Manifests {
		out = append(out, "manifest/"+child.Digest.String(), "link/hello/"+child.Digest.String())
	}
	if doc.Config != nil {
		doc.Layers = append(doc.Layers, *doc.Config)
	}
	for _, child := range doc.Layers {
		out = append(out, "blob/"+child.Digest.String(), "link/hello/"+child.Digest.String())
	}
	return out
}
