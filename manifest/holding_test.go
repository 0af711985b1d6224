package manifest_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nixreg/nixreg/manifest"
	"github.com/nixreg/nixreg/manifest/digests"
	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/storetest"
)

// keeper is a Holder that notes what happens.
type keeper struct {
	mu      sync.Mutex
	events  []string
	held    map[string][]store.Path // by key
	touched map[string]int
	fail    func(roots []store.Path) error
}

func newKeeper() *keeper {
	return &keeper{held: make(map[string][]store.Path), touched: make(map[string]int)}
}

func (k *keeper) Hold(_ context.Context, key string, roots []store.Path) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, p := range roots {
		k.events = append(k.events, "hold "+p.Name())
	}
	if k.fail != nil {
		if err := k.fail(roots); err != nil {
			return err
		}
	}
	all := append(k.held[key], roots...)
	slices.Sort(all)
	k.held[key] = slices.Compact(all)
	return nil
}

func (k *keeper) Touch(key string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.touched[key]++
}

func (k *keeper) note(event string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.events = append(k.events, event)
}

// take returns what happened since the last time.
func (k *keeper) take() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	defer func() { k.events = nil }()
	return k.events
}

// roots are the names of all that is held.
func (k *keeper) roots() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	var names []string
	for _, paths := range k.held {
		for _, p := range paths {
			names = append(names, p.Name())
		}
	}
	slices.Sort(names)
	return strings.Join(slices.Compact(names), " ")
}

// noting is s where the keeper notes what is read.
func (k *keeper) noting(s store.Store) store.Store {
	note := func(_ context.Context, p store.Path) error { k.note("read " + p.Name()); return nil }
	return &faulty{Store: s, object: note, open: note}
}

func (k *keeper) source(t *testing.T, cache digests.Cache, s store.Store, images ...string) *manifest.Source {
	t.Helper()
	src, err := manifest.NewSource(manifest.Config{Stores: []store.Store{s}, Images: images, Cache: cache, Holder: k})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { src.Close() })
	return src
}

// TestHeldBeforeRead: the closure of an image is held before it is looked at, and is seen to be held when it is asked for a
// second later.
func TestHeldBeforeRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, _, _ := withHello()
		k := newKeeper()
		src := k.source(t, new(digests.Memory), k.noting(m))
		for range 2 {
			want := get(t, newSource(t, "", m), "hello", "latest")
			if got := get(t, src, "hello", "latest"); got.Digest != want.Digest {
				t.Errorf("held it is %s, else %s", got.Digest, want.Digest)
			}
			events := k.take()
			held, read := slices.Index(events, "hold hello-2.12.1"), slices.Index(events, "read lib-1.0")
			if held < 0 || read >= 0 && read < held {
				t.Errorf("in this order: %s", events)
			}
			time.Sleep(time.Second)
		}
		if len(k.held) != 1 || len(k.touched) != 1 {
			t.Errorf("held: %v, touched: %v", k.held, k.touched)
		}
		for key, n := range k.touched {
			if n != 2 || k.held[key] == nil || len(key) != 64 || strings.Trim(key, "0123456789abcdef") != "" {
				t.Errorf("%s touched %d times", key, n)
			}
		}
	})
}

// TestHeldRoots: of each kind of image that is held which keeps all of it alive, and nothing that lies outside of the store.
func TestHeldRoots(t *testing.T) {
	m, lib, hello := withHello()
	base := newFinished(t, unpacked).nixpkgs(t)
	inStore := m.Add("base.tar", storetest.Files{"": storetest.File(string(base))})
	dir := t.TempDir()
	file := filepath.Join(dir, "app.tar")
	if err := os.WriteFile(file, base, 0o644); err != nil {
		t.Fatal(err)
	}
	conf := m.Add("web-conf.json", storetest.Files{"": storetest.File(confText(t, m, map[string]any{
		"store_layers": [][]string{{lib.Abs()}}, "from_image": inStore.Abs(),
	}))})
	script := m.Add("stream-web", storetest.Files{"": storetest.File("#!/bin/sh\nexec stream " + conf.Abs() + "\n")})
	link(t, script.Abs(), filepath.Join(dir, "web"))
	link(t, inStore.Abs(), filepath.Join(dir, "linked"))
	write(t, filepath.Join(dir, "defined.yaml"), fmt.Sprintf(`
- { name: defined, contents: hello, fromImage: %s, config: { Cmd: [%s/lib/x.so] } }
- { name: upon, contents: hello, fromImage: app.tar }
`, inStore.Abs(), lib.Abs()))
	for name, want := range map[string]string{
		"hello": "hello-2.12.1", "store/" + hello.Hash(): "hello-2.12.1", "hello/lib": "hello-2.12.1 lib-1.0",
		"web": "base.tar lib-1.0 stream-web y-customisation-layer", "linked": "base.tar", "app": "",
		"defined": "base.tar hello-2.12.1 lib-1.0", "upon": "hello-2.12.1",
	} {
		k := newKeeper()
		src := k.source(t, new(digests.Memory), m, dir)
		inspect(t, src, name, "latest")
		if got := k.roots(); got != want {
			t.Errorf("%s: held are %q, not %q", name, got, want)
		}
	}
}

// TestHoldFails: what has gone for good is not there, and its name is told, a second after it was seen at the latest.
func TestHoldFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, _, hello := withHello()
		k := newKeeper()
		src := k.source(t, new(digests.Memory), m)
		get(t, src, "hello", "latest")
		time.Sleep(time.Second)
		for _, kind := range []error{fs.ErrNotExist, store.ErrUnavailable} {
			k.fail = func(roots []store.Path) error { return fmt.Errorf("%s is gone: %w", roots[0].Abs(), kind) }
			_, err := src.Manifest(ctx, manifest.Request{Repository: "hello", Tag: "latest", Accept: first})
			if !errors.Is(err, kind) || !strings.Contains(err.Error(), hello.Abs()) {
				t.Error(err)
			}
		}
	})
}

// TestHeldByDigest: who asks for a manifest by its digest keeps it, in a later process too; that it cannot be held is no
// error, and blobs hold nothing.
func TestHeldByDigest(t *testing.T) {
	m, _, _ := withHello()
	cache := new(shelf)
	d := get(t, newKeeper().source(t, cache, m), "hello", "latest")
	k := newKeeper()
	src := k.source(t, cache, m)
	for range 2 {
		if err := known(src, "hello", d.Digest); err != nil {
			t.Fatal(err)
		}
	}
	by := newKeeper()
	get(t, by.source(t, cache, m), "hello", "latest")
	if fmt.Sprint(k.held) != fmt.Sprint(by.held) || len(k.held) != 1 {
		t.Errorf("by digest is held %v, by tag %v", k.held, by.held)
	}
	if len(k.touched) != 1 {
		t.Errorf("touched: %v", k.touched)
	}
	for key, n := range k.touched {
		if k.held[key] == nil || n != 2 {
			t.Errorf("touched: %v", k.touched)
		}
	}
	k.fail = func([]store.Path) error { return errors.New("no space left") }
	if err := known(src, "hello", d.Digest); err != nil {
		t.Error(err)
	}
	k.take()
	for _, b := range blobsOf(inspect(t, newSource(t, "", m), "hello", "latest")) {
		if err := intact(src, "hello", b); err != nil {
			t.Error(err)
		}
	}
	if events := k.take(); len(events) > 0 {
		t.Errorf("blobs did %s", events)
	}
}

// TestHeldByDigestOfOlder: what was made when nothing was held is held by what is in its layers.
func TestHeldByDigestOfOlder(t *testing.T) {
	m, _, _ := withHello()
	cache := new(shelf)
	d := get(t, withCache(t, cache, m), "hello", "latest")
	for _, key := range cache.keys("image/") {
		if r := string(cache.records[key]); strings.Contains(r, "roots") || strings.Contains(r, "definition") {
			t.Errorf("nothing is held, and the record is %s", r)
		}
	}
	k := newKeeper()
	if err := known(k.source(t, cache, m), "hello", d.Digest); err != nil || k.roots() != "hello-2.12.1 lib-1.0" {
		t.Errorf("held are %s, %v", k.roots(), err)
	}
}

// TestLostPathIsNamed: of a layer that cannot be made again the client is told why.
func TestLostPathIsNamed(t *testing.T) {
	m, lib, _ := withHello()
	src := newSource(t, "", m)
	r := inspect(t, src, "hello", "latest")
	m.Delete(lib)
	err := intact(src, "hello", r.Layers[0].Digest)
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), lib.Abs()+" has gone, deleted by Nix's garbage collector perhaps") {
		t.Error(err)
	}
	if err := intact(src, "hello", r.Layers[1].Digest); err != nil {
		t.Error(err)
	}
}

// TestBuiltIsHeld as soon as it is built: what the garbage collector was quicker to delete is built again, some times.
func TestBuiltIsHeld(t *testing.T) {
	for deletions, want := range map[int]error{0: nil, 2: nil, 3: store.ErrUnavailable} {
		w, k := newWorkshop(), newKeeper()
		left := deletions
		k.fail = func(roots []store.Path) error {
			if left--; left < 0 {
				return nil
			}
			w.store.Delete(roots[0])
			return fmt.Errorf("%s is gone: %w", roots[0], fs.ErrNotExist)
		}
		src := w.source(t, func(c *manifest.Config) { c.Holder = k })
		_, err := src.Inspect(ctx, "htop", "latest")
		if !errors.Is(err, want) || strings.Count(w.builds(), "htop") != min(deletions+1, 3) {
			t.Errorf("%d deletions: %v", deletions, err)
		}
		if err == nil && k.roots() != "htop-3.3.0" {
			t.Errorf("held are %s", k.roots())
		}
	}
}

// TestBuiltLayoutIsHeld: an attribute may be an OCI layout, which is an image by itself.
func TestBuiltLayoutIsHeld(t *testing.T) {
	w, k := newWorkshop(), newKeeper()
	files := make(storetest.Files)
	for name, data := range newFinished(t, unpacked).layout(t) {
		files[name] = storetest.File(data)
	}
	w.plans["app"] = func(string) ([]store.Path, error) { return []store.Path{w.store.Add("app-layout", files)}, nil }
	src := w.source(t, func(c *manifest.Config) { c.Holder = k })
	pull(t, src, "app", "latest")
	if len(k.held) != 2 || len(k.touched) != 1 { // what was built, and the image
		t.Errorf("held: %v, touched: %v", k.held, k.touched)
	}
}
