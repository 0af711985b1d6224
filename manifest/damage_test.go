package manifest_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"testing"

	"github.com/nixreg/nixreg/manifest/digests"
	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/storetest"
)

func sha256Hex(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// TestChangedBehindNix: names, modes and links of a path change, while its regular files keep their stamps and the
// database keeps its hash. After a restart the layers are absent, never other bytes.
func TestChangedBehindNix(t *testing.T) {
	before := storetest.Files{
		"bin/hello": elf(machineAMD64), "data": storetest.File("data"), "link": storetest.Link("bin/hello"),
	}
	for name, c := range map[string]struct {
		drop, add string
		item      storetest.Item
		links     bool // the layer of links changes too
	}{
		"link target":   {"", "link", storetest.Link("bin/other"), true},
		"file name":     {"data", "date", storetest.File("data"), true},
		"mode":          {"", "data", storetest.Exec("data"), false},
		"file for link": {"", "link", storetest.File(""), true},
		"one more":      {"", "zzz", storetest.Link("data"), true},
	} {
		t.Run(name, func(t *testing.T) {
			fixture := storetest.NewFixture("hello-1", before)
			m, changed := storetest.New(), storetest.New()
			p := m.Put(fixture)
			cache := new(digests.Memory)
			r := inspect(t, withCache(t, cache, m), "hello", "1")

			fixture.Files = storetest.Files{c.add: c.item}
			for file, item := range before {
				if _, ok := fixture.Files[file]; !ok && file != c.drop {
					fixture.Files[file] = item
				}
			}
			changed.Put(fixture) // with the stamps of the first store
			o, err := m.Object(ctx, p)
			if err != nil {
				t.Fatal(err)
			}
			changed.Edit(p, func(x *store.Object) { *x = *o })
			after := withCache(t, cache, changed)
			if err := intact(after, "hello", r.Layers[0].Digest); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("layer of store paths: %v", err)
			}
			if err := intact(after, "hello", r.Layers[1].Digest); c.links && !errors.Is(err, fs.ErrNotExist) || !c.links && err != nil {
				t.Errorf("layer of links: %v", err)
			}
			if err := intact(after, "hello", r.Config); err != nil {
				t.Errorf("config: %v", err)
			}
		})
	}
}

// TestRepairedAfterHashing: a layer that was hashed while a file was damaged is refused once the file is repaired, and
// the next pull by tag gives the image as it is to be.
func TestRepairedAfterHashing(t *testing.T) {
	for name, restart := range map[string]bool{"same process": false, "restart": true} {
		t.Run(name, func(t *testing.T) {
			m := storetest.New()
			p := m.Add("hello-1", storetest.Files{"bin/hello": elf(machineAMD64), "data": storetest.File("good")})
			want := get(t, newSource(t, "", m), "hello", "1").Digest
			cache := new(digests.Memory)
			src := withCache(t, cache, m)
			m.Change(p, "data", "evil")
			damaged := inspect(t, src, "hello", "1")
			if damaged.Manifest == want {
				t.Fatal("the damage does not show")
			}
			m.Change(p, "data", "good")
			if restart {
				src = withCache(t, cache, m)
			} else if err := intact(src, "hello", damaged.Layers[0].Digest); !errors.Is(err, store.ErrChanged) {
				t.Errorf("the damaged layer, at first: %v", err)
			}
			if err := intact(src, "hello", damaged.Layers[0].Digest); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the damaged layer: %v", err)
			}
			pull(t, src, "hello", "1")
			if got := get(t, src, "hello", "1").Digest; got != want {
				t.Errorf("after the repair the manifest is %s, not %s", got, want)
			}
		})
	}
}

// TestLinkedContentChanges: a content that is a link depends on the path it leads to.
func TestLinkedContentChanges(t *testing.T) {
	m := storetest.New()
	dir := m.Add("dir-1", storetest.Files{"sub/file": storetest.File("")})
	link := m.Add("link-1", storetest.Files{"": storetest.Link(dir.Abs() + "/sub")}, dir)
	cache := new(digests.Memory)
	repository := "store/" + link.Hash()
	r := inspect(t, withCache(t, cache, m), repository, "latest")
	links := r.Layers[len(r.Layers)-1].Digest
	if err := intact(withCache(t, cache, m), repository, links); err != nil {
		t.Fatal(err)
	}
	m.Edit(dir, func(o *store.Object) { o.NarHash[0] ^= 1 })
	if err := intact(withCache(t, cache, m), repository, links); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after %s was replaced: %v", dir, err)
	}
}
