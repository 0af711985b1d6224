package manifest_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/nixreg/nixreg/manifest"
	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/storetest"
)

// systems is a distant store with hello for two architectures, each with a library.
func systems() (d *distant, c *fakeChannel, amd, arm store.Path) {
	d, c = far(storetest.New()), &fakeChannel{name: "unstable"}
	add := func(machine byte) store.Path {
		lib := d.Add("lib-1", storetest.Files{"lib/x": storetest.File(fmt.Sprint(machine))})
		p := addHello(d.Memory, "1", machine, lib)
		c.add(lib)
		c.add(p, "hello")
		return p
	}
	arm, amd = add(machineARM64), add(machineAMD64)
	return d, c, amd, arm
}

// TestDistantPlatforms: the candidates of a version are fetched side by side, and then make one image each.
func TestDistantPlatforms(t *testing.T) {
	d, c, amd, arm := systems()
	src := channelSource(t, manifest.Config{Stores: stores(unlistableFar{d}), Channels: channels(c)})
	d.wait(amd, arm)
	if got := architectures(t, src, "hello", "unstable"); got != "amd64 arm64" {
		t.Fatal(got)
	}
	if first := d.fetched()[0]; !slices.Equal(sorted(first), sorted([]store.Path{amd, arm})) {
		t.Errorf("%v are fetched first", first)
	}
}

// unlistableFar is a distant store without names.
type unlistableFar struct{ *distant }

func (u unlistableFar) List(ctx context.Context) iter.Seq2[store.Entry, error] {
	return unlistable{u.Memory}.List(ctx)
}

// TestArchitectures: images by package name are made for those only that are asked for, and nothing is fetched for others.
func TestArchitectures(t *testing.T) {
	d, c, amd, arm := systems()
	data := d.Add("data-1", storetest.Files{"share/x": storetest.File("")})
	c.add(data)
	armOnly := d.Add("armonly-1", storetest.Files{"bin/x": elf(machineARM64)})
	c.add(armOnly)
	dir := t.TempDir()
	write(t, filepath.Join(dir, "arm.yaml"), "name: arm\ntag: \"1\"\narchitecture: arm64\ncontents: [hello]\n")
	cfg := manifest.Config{Stores: stores(unlistableFar{d}), Channels: channels(c), Images: []string{dir}, Architectures: []string{"amd64"}}
	src := channelSource(t, cfg)
	if got := inspect(t, src, "hello", "latest"); madeOf(got) != amd.Abs() || got.Architecture != "amd64" {
		t.Errorf("hello is %s for %s", madeOf(got), got.Architecture)
	}
	objects, err := store.Closure(ctx, d, arm)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range d.opens() {
		if p != arm && slices.ContainsFunc(objects, func(o *store.Object) bool { return o.Path == p }) {
			t.Errorf("%s was opened for an architecture that is not asked for", p)
		}
	}
	for repository, want := range map[string]string{
		"armonly":       "armonly:latest is there for arm64, and images are made for amd64 only",
		"armonly/hello": "no architecture for which all of these packages",
	} {
		if _, err := src.Inspect(ctx, repository, "latest"); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", repository, err)
		}
	}
	if got := architectures(t, src, "data", "latest"); got != "amd64" {
		t.Errorf("data is for %s", got)
	}
	if got := architectures(t, src, "data/hello", "latest"); got != "amd64" {
		t.Errorf("data/hello is for %s", got)
	}
	if got := inspect(t, src, "arm", "1"); got.Architecture != "arm64" {
		t.Errorf("a definition for arm64 is for %s", got.Architecture)
	}
	cfg.Architectures = []string{"arm64", "riscv64"}
	other := channelSource(t, cfg)
	if got := architectures(t, other, "hello", "latest"); got != "arm64" {
		t.Errorf("hello is for %s", got)
	}
	if got := architectures(t, other, "hello/data", "latest"); got != "arm64" {
		t.Errorf("hello/data is for %s", got)
	}
}

// TestFetchInOrder: what the layers are hashed from is fetched in the order they are, the largest first, and what is
// remembered is not.
func TestFetchInOrder(t *testing.T) {
	m := storetest.New()
	small := m.Add("small-1", storetest.Files{"a": storetest.File("s")})
	large := m.Add("large-1", storetest.Files{"a": storetest.File(strings.Repeat("l", 90000))})
	app := m.Add("app-1", storetest.Files{"bin/app": elf(machineAMD64), "share/a": storetest.File(strings.Repeat("m", 3000)), "share/l": storetest.Link(large.Abs())}, small, large)
	lib := m.Add("lib-1", storetest.Files{"a": storetest.File("lib")})
	two := m.Add("two-1", storetest.Files{"bin/two": elf(machineAMD64), "share/l": storetest.Link(lib.Abs())}, small, lib)
	d := far(m)
	cache := new(shelf)
	src := withCache(t, cache, d)
	d.wait(small, large)
	inspect(t, src, "app", "latest")
	want := []store.Path{large, app, small}
	if got := d.fetched(); len(got) == 0 || !slices.Equal(got[0], want) {
		t.Errorf("fetches %v, not %v", got, want)
	}
	d.opens()
	d.wait(lib)
	inspect(t, src, "two", "latest")
	if got := d.fetched(); len(got) == 0 || !slices.Equal(got[len(got)-1], []store.Path{two, lib}) {
		t.Errorf("fetches %v, though the layer of %s is remembered", got, small)
	}
	if opened := d.opens(); !slices.Equal(opened, sorted([]store.Path{two, lib})) {
		t.Errorf("opens %v", opened)
	}
}

// TestBlobSize: the size of a blob is told without a look at its files if they lie far away, else after one.
func TestBlobSize(t *testing.T) {
	for _, distant := range []bool{false, true} {
		m, lib, hello := withHello()
		d, cache := far(m), new(shelf)
		var s store.Store = m
		if distant {
			s = d
		}
		src := withCache(t, cache, s)
		r := inspect(t, src, "hello", "latest")
		for _, digest := range blobsOf(r) {
			b, err := src.Blob(ctx, "hello", digest)
			if err != nil {
				t.Fatal(err)
			}
			d.opens()
			n, err := src.BlobSize(ctx, "hello", digest)
			if opened := d.opens(); err != nil || n != b.Size() || len(opened) > 0 {
				t.Errorf("distant %t: %d bytes, not %d, %v; opened %v", distant, n, b.Size(), err, opened)
			}
		}
		layerOf := func(p store.Path) v1.Hash {
			i := slices.IndexFunc(r.Layers, func(l manifest.ReportLayer) bool { return slices.Contains(l.Contents, p.Abs()) })
			return r.Layers[i].Digest
		}
		m.Change(lib, "lib/x.so", "changed")
		src = withCache(t, cache, s) // that has not looked at it yet
		if _, err := src.BlobSize(ctx, "hello", layerOf(lib)); distant != (err == nil) || err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("distant %t: changed: %v", distant, err)
		}
		m.Delete(hello)
		if _, err := src.BlobSize(ctx, "hello", layerOf(hello)); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), hello.Abs()+" has gone") {
			t.Errorf("distant %t: gone: %v", distant, err)
		}
		if _, err := src.BlobSize(ctx, "hello", nowhere("1")); !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
	}
}

// TestNearIsNotRecorded: what is seen of paths that lie near is seen anew by each process, as ever.
func TestNearIsNotRecorded(t *testing.T) {
	m, _, _ := withHello()
	cache := new(shelf)
	src := withCache(t, cache, m)
	inspect(t, src, "hello", "latest")
	if got := append(cache.keys("directory/"), cache.keys("architecture/")...); len(got) > 0 {
		t.Errorf("records %v", got)
	}
}
