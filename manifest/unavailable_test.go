package manifest_test

import (
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nixreg/nixreg/manifest"
	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/storetest"
)

// TestServedWhileOutOfReach: after a restart, while caches are out of reach, what is remembered is served, be it of one
// platform or several.
func TestServedWhileOutOfReach(t *testing.T) {
	d, c, _, _ := systems()
	c.add(d.Add("one-1", storetest.Files{"bin/one": elf(machineAMD64)}))
	cache := new(shelf)
	cfg := manifest.Config{Stores: stores(unlistableFar{d}), Channels: channels(c), Cache: cache}
	before := channelSource(t, cfg)
	hello, one := get(t, before, "hello", "latest"), get(t, before, "one", "unstable")

	d.reach(false)
	d.opens()
	cfg.Cache = cache.copy()
	after := channelSource(t, cfg)
	if got := get(t, after, "hello", "latest"); got.Digest != hello.Digest {
		t.Errorf("hello is %s, not %s", got.Digest, hello.Digest)
	}
	if got := get(t, after, "one", "unstable"); got.Digest != one.Digest {
		t.Errorf("one is %s, not %s", got.Digest, one.Digest)
	}
	if err := known(after, "hello", hello.Digest); err != nil {
		t.Error(err)
	}
	cfg.Architectures = []string{"amd64"}
	if got := inspect(t, channelSource(t, cfg), "hello", "latest"); got.Architecture != "amd64" {
		t.Errorf("for amd64 alone: %+v", got)
	}
}

// TestOutOfReachIsNotUnknown: nobody can tell, and when the store is back all is as if nothing had been.
func TestOutOfReachIsNotUnknown(t *testing.T) {
	d, c, _, _ := systems()
	lost := addHello(d.Memory, "2", machineAMD64)
	dir := t.TempDir()
	write(t, filepath.Join(dir, "own.yaml"), "name: own\ntag: \"1\"\ncontents: ["+lost.Abs()+"]\n")
	cfg := manifest.Config{Stores: stores(unlistableFar{d}), Channels: channels(c), Images: []string{dir}}
	wanted := get(t, channelSource(t, cfg), "hello", "latest")
	config := inspect(t, channelSource(t, manifest.Config{Stores: cfg.Stores, Channels: cfg.Channels, Architectures: []string{"amd64"}}), "hello", "latest").Config

	clear(d.known)
	d.reach(false)
	cfg.Cache = new(shelf)
	src := channelSource(t, cfg)
	ask := func() map[string]error {
		_, byTag := src.Manifest(ctx, manifest.Request{Repository: "hello", Tag: "latest", Accept: first})
		_, blob := src.Blob(ctx, "hello", config)
		_, path := src.Tags(ctx, "store/"+lost.Hash())
		_, own := src.Inspect(ctx, "own", "1")
		_, composite := src.Inspect(ctx, "hello/lib", "latest")
		_, referrers := src.Referrers(ctx, "hello", wanted.Digest)
		return map[string]error{
			"tag": byTag, "digest": known(src, "hello", wanted.Digest), "blob": blob, "path": path, "definition": own,
			"composite": composite, "referrers": referrers,
		}
	}
	for what, err := range ask() {
		if !errors.Is(err, store.ErrUnavailable) || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if tags, err := src.Tags(ctx, "hello"); err != nil || !slices.Contains(tags, "unstable") {
		t.Errorf("tags are %v, %v: the channel is there", tags, err)
	}
	if faults := src.Catalog().Faults(ctx); len(faults) > 0 {
		t.Errorf("faults are %v, and nobody knows", faults)
	}
	d.reach(true)
	if err := known(src, "hello", wanted.Digest); err != nil { // which makes the image, by a search that was not remembered
		t.Errorf("by digest, later: %v", err)
	}
	for what, err := range ask() {
		if err != nil {
			t.Errorf("%s, later: %v", what, err)
		}
	}
}

// TestOthersWhileOneIsOutOfReach: a store or a channel that cannot be asked breaks nothing of the others.
func TestOthersWhileOneIsOutOfReach(t *testing.T) {
	m, _, hello := withHello()
	later := far(storetest.New())
	other := later.Add("other-1", storetest.Files{"bin/other": elf(machineAMD64)})
	c, unread := &fakeChannel{name: "new"}, &fakeChannel{name: "unread", err: unreachable("channel")}
	c.add(other)
	out := far(storetest.New())
	out.reach(false)
	src := channelSource(t, manifest.Config{Stores: stores(m, out, unlistableFar{later}), Channels: channels(unread, c)})
	for ref, want := range map[string]store.Path{
		"hello:latest": hello, "hello:2.12.1": hello, "other:1": other, "other:new": other, "other:" + other.Hash(): other,
	} {
		repository, tag, _ := strings.Cut(ref, ":")
		if got := madeOf(inspect(t, src, repository, tag)); got != want.Abs() {
			t.Errorf("%s is %s, not %s", ref, got, want)
		}
	}
	if tags, err := src.Tags(ctx, "other"); err != nil || !slices.Equal(tags, sortedStrings("1", "latest", "new", other.Hash())) {
		t.Errorf("tags are %v, %v", tags, err)
	}
	if names, err := src.Repositories(ctx); err != nil || !slices.Equal(names, []string{"hello", "other"}) {
		t.Errorf("repositories are %v, %v", names, err)
	}
	// the one that is out of reach comes first, and may know a later version
	for _, ref := range []string{"other:latest", "other:2", "nobody:latest"} {
		repository, tag, _ := strings.Cut(ref, ":")
		if _, err := src.Inspect(ctx, repository, tag); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%s: %v", ref, err)
		}
	}
	got := get(t, src, "hello", "latest")
	src2 := channelSource(t, manifest.Config{Stores: stores(m, out), Channels: channels(unread)})
	if err := known(src2, "hello", got.Digest); err != nil {
		t.Errorf("by digest: %v", err)
	}
	if err := known(src2, "hello", nowhere("0")); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("a digest that may be one of the channel's: %v", err)
	}
}

func sortedStrings(s ...string) []string { return slices.Sorted(slices.Values(s)) }

// TestSearchFromAfar makes anew what latest and the channels' names stand for, and fetches nothing else.
func TestSearchFromAfar(t *testing.T) {
	m := storetest.New()
	c, older := &fakeChannel{name: "unstable"}, &fakeChannel{name: "stable"}
	var paths []store.Path
	for _, v := range []string{"1", "2", "3"} {
		paths = append(paths, addHello(m, v, machineAMD64))
		c.add(paths[len(paths)-1])
	}
	older.add(paths[0])
	cfg := func() manifest.Config {
		return manifest.Config{Stores: stores(unlistableFar{far(m)}), Channels: channels(c, older)}
	}
	src := channelSource(t, cfg())
	latest, stable, two := get(t, src, "hello", "latest"), get(t, src, "hello", "stable"), get(t, src, "hello", "2")
	d := far(m)
	fresh := cfg()
	fresh.Stores = stores(unlistableFar{d})
	src = channelSource(t, fresh)
	for _, want := range []error{known(src, "hello", latest.Digest), known(src, "hello", stable.Digest)} {
		if want != nil {
			t.Error(want)
		}
	}
	if err := known(src, "hello", two.Digest); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a version that is neither: %v", err)
	}
	if opened := d.opens(); slices.Contains(opened, paths[1]) {
		t.Errorf("%s was fetched in search of a digest", paths[1])
	}
}
