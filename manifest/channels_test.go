package manifest_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"slices"
	"strings"
	"testing"

	"github.com/nixreg/nixreg/manifest"
	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/storetest"
)

// TestChannelNames is docs/names.md, "Channels", line by line.
func TestChannelNames(t *testing.T) {
	m := storetest.New()
	add := func(name string) store.Path { return m.Add(name, storetest.Files{"bin/x": elf(machineAMD64)}) }
	node18, node20, node22 := add("nodejs-18.1"), add("nodejs-20.5"), add("nodejs-22.0")
	dev := m.Add("nodejs-20.5-dev", storetest.Files{"include/x": storetest.File("")})
	slim := m.Add("nodejs-20.5", storetest.Files{"bin/slim": elf(machineAMD64)}) // of another attribute, or none
	requests := add("python3.12-requests-2.31")
	hello1, hello2 := add("hello-1"), add("hello-2")
	unstable, old := &fakeChannel{name: "unstable"}, &fakeChannel{name: "old"}
	unstable.add(slim)
	unstable.add(node22, "nodejs_22")
	unstable.add(node20, "nodejs", "nodejs_20")
	unstable.add(dev, "nodejs", "nodejs_20")
	unstable.add(node18)
	unstable.add(requests, "python3Packages.requests", "python312Packages.requests")
	unstable.add(hello1)
	unstable.add(hello2)
	old.add(hello1, "hello")
	src := channelSource(t, manifest.Config{Stores: stores(far(m)), Channels: channels(unstable, old)})
	plain := channelSource(t, manifest.Config{Stores: stores(unlistable{m}), Channels: channels(unstable, old)})
	for ref, want := range map[string]store.Path{
		"nodejs:latest": node20, "nodejs:unstable": node20, "nodejs:22.0": node22, "nodejs:20.5": node20,
		"nodejs:20.5-dev": dev, "nodejs:" + slim.Hash(): slim, "nodejs:" + node18.Hash(): node18,
		"nodejs_22:latest": node22, "nodejs_22:22.0": node22, "nodejs_20:unstable": node20,
		"python3packages.requests:latest": requests, "python3.12-requests:2.31": requests, "python312packages.requests:2.31": requests,
		"hello:latest": hello2, "hello:unstable": hello2, "hello:old": hello1, "hello:1": hello1,
	} {
		repository, tag, _ := strings.Cut(ref, ":")
		if got := madeOf(inspect(t, plain, repository, tag)); got != want.Abs() {
			t.Errorf("%s is %s, not %s", ref, got, want)
		}
	}
	for _, ref := range []string{"nodejs:old", "nodejs_22:20.5", "nodejs_22:" + node20.Hash(), "hello:stable", "python3packages:latest"} {
		repository, tag, _ := strings.Cut(ref, ":")
		if _, err := plain.Inspect(ctx, repository, tag); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", ref, err)
		}
	}
	want := []string{"1", "2", "latest", "old", "unstable", hello1.Hash(), hello2.Hash()}
	slices.Sort(want)
	if tags, err := plain.Tags(ctx, "hello"); err != nil || !slices.Equal(tags, want) {
		t.Errorf("tags of hello are %v, %v", tags, err)
	}
	// in a store the highest version is latest, and only the channel's name says what is in the channel
	if got := madeOf(inspect(t, src, "nodejs", "latest")); got != node22.Abs() {
		t.Errorf("nodejs:latest is %s: the store's own names come first", got)
	}
	if got := madeOf(inspect(t, src, "nodejs", "unstable")); got != node20.Abs() {
		t.Errorf("nodejs:unstable is %s", got)
	}
}

// unlistable is a distant store without names.
type unlistable struct{ *storetest.Memory }

func (unlistable) Distant() bool { return true }

func (u unlistable) List(ctx context.Context) iter.Seq2[store.Entry, error] {
	return (&faulty{Store: u.Memory, list: func(context.Context) error { return errors.ErrUnsupported }}).List(ctx)
}

// TestVersionBeforeChannel: a version that is spelled as the channel is what its tag stands for.
func TestVersionBeforeChannel(t *testing.T) {
	m := storetest.New()
	one := m.Add("x-24.05", storetest.Files{"a": storetest.File("")})
	two := m.Add("x-24.11", storetest.Files{"a": storetest.File("")})
	c := &fakeChannel{name: "24.05"}
	c.add(one)
	c.add(two, "x")
	src := channelSource(t, manifest.Config{Stores: stores(m), Channels: channels(c)})
	other := channelSource(t, manifest.Config{Stores: stores(unlistable{m}), Channels: channels(c)})
	for _, src := range []*manifest.Source{src, other} {
		if got := madeOf(inspect(t, src, "x", "24.05")); got != one.Abs() {
			t.Errorf("x:24.05 is %s", got)
		}
	}
}

// TestNearStoreBeforeChannel: what a store on this machine has stays as it is without the channel.
func TestNearStoreBeforeChannel(t *testing.T) {
	m, _, hello := withHello()
	cache := far(storetest.New())
	newer := cache.Add("hello-3", storetest.Files{"bin/hello": elf(machineAMD64)})
	c := &fakeChannel{name: "unstable"}
	c.add(newer, "hello")
	src := channelSource(t, manifest.Config{Stores: stores(m, unlistable{cache.Memory}), Channels: channels(c)})
	for tag, want := range map[string]store.Path{"latest": hello, "2.12.1": hello, "3": newer, "unstable": newer} {
		if got := madeOf(inspect(t, src, "hello", tag)); got != want.Abs() {
			t.Errorf("hello:%s is %s, not %s", tag, got, want)
		}
	}
	want := []string{"2.12.1", "3", "latest", "unstable", hello.Hash(), newer.Hash()}
	slices.Sort(want)
	if tags, err := src.Tags(ctx, "hello"); err != nil || !slices.Equal(tags, want) {
		t.Errorf("tags are %v, %v", tags, err)
	}
}

// TestNotInStores: what a channel names and no store has is an error that says so, and not the next best version.
func TestNotInStores(t *testing.T) {
	m := storetest.New()
	old := m.Add("x-1", storetest.Files{"a": storetest.File("")})
	gone := storetest.NewFixture("x-2", storetest.Files{"a": storetest.File("")}).Path
	c := &fakeChannel{name: "unstable"}
	c.add(old)
	c.add(gone)
	src := channelSource(t, manifest.Config{Stores: stores(unlistable{m}), Channels: channels(c)})
	for _, tag := range []string{"latest", "unstable", "2", gone.Hash()} {
		_, err := src.Inspect(ctx, "x", tag)
		if want := gone.Abs() + " of channel unstable is in none of the stores"; !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), want) {
			t.Errorf("x:%s: %v", tag, err)
		}
	}
	if got := madeOf(inspect(t, src, "x", "1")); got != old.Abs() {
		t.Errorf("x:1 is %s", got)
	}
}

// unsigned is a store that does not serve a path, for a reason that clients are told.
type unsigned struct {
	store.Store
	path store.Path
}

func (u unsigned) Object(ctx context.Context, p store.Path) (*store.Object, error) {
	if p == u.path {
		return nil, fmt.Errorf("object: %w", notSigned{})
	}
	return u.Store.Object(ctx, p)
}

func (u unsigned) Refused(match func(store.Path) bool) error {
	if match(u.path) {
		return notSigned{}
	}
	return nil
}

type notSigned struct{}

func (notSigned) Error() string  { return "not signed; trusted is nobody" }
func (notSigned) Public() string { return "not signed" }
func (notSigned) Unwrap() error  { return store.ErrExplained }

// TestWhyNotInStores: the reason why a store does not serve a path is in the error for its name, from a list and from a channel.
func TestWhyNotInStores(t *testing.T) {
	m := storetest.New()
	m.Add("y-1", storetest.Files{"a": storetest.File("")})
	p := storetest.NewFixture("x-2", storetest.Files{"a": storetest.File("")}).Path
	c := &fakeChannel{name: "unstable"}
	c.add(p)
	for why, cfg := range map[string]manifest.Config{
		"no image or package called x: not signed":                            {},
		p.Abs() + " of channel unstable is in none of the stores: not signed": {Channels: channels(c)},
	} {
		cfg.Stores = stores(unsigned{m, p})
		src := channelSource(t, cfg)
		_, err := src.Inspect(ctx, "x", "latest")
		if !errors.Is(err, fs.ErrNotExist) || !strings.HasSuffix(err.Error(), why) {
			t.Errorf("%v; want %q", err, why)
		}
		if _, err := src.Inspect(ctx, "z", "latest"); !errors.Is(err, fs.ErrNotExist) || strings.Contains(err.Error(), "signed") {
			t.Errorf("another name: %v", err)
		}
	}
}

// TestNothingIsOpened for what names alone tell.
func TestNothingIsOpened(t *testing.T) {
	m := storetest.New()
	far := far(m)
	src1 := m.Add("source", storetest.Files{"main.c": storetest.File("")})
	m.Edit(src1, func(o *store.Object) { o.CA = "fixed:r:sha256:x" })
	file := m.Add("x-3", storetest.Files{"": storetest.File("a file")})
	patch := m.Add("x-4", storetest.Files{"": storetest.File("a patch")})
	m.Edit(patch, func(o *store.Object) { o.CA = "text:x" })
	two := m.Add("x-2", storetest.Files{"bin/x": elf(machineAMD64)})
	one := m.Add("x-1", storetest.Files{"bin/x": elf(machineAMD64)})
	m.Add("x-2.drv", storetest.Files{"": storetest.File("")})
	m.Add("y-1-dev", storetest.Files{"a": storetest.File("")})
	c := &fakeChannel{name: "unstable"}
	for _, p := range []store.Path{src1, file, patch, two, one} {
		c.add(p, "Attr.x")
	}
	src := channelSource(t, manifest.Config{Stores: stores(far), Channels: channels(c)})
	want := []string{"1", "2", "3", "4", "latest", "unstable", file.Hash(), patch.Hash(), two.Hash(), one.Hash()}
	slices.Sort(want)
	if tags, err := src.Tags(ctx, "x"); err != nil || !slices.Equal(tags, want) {
		t.Errorf("tags are %v, %v", tags, err)
	}
	names, err := src.Repositories(ctx)
	if err != nil || !slices.Equal(names, []string{"attr.x", "source", "x"}) {
		t.Errorf("repositories are %v, %v", names, err)
	}
	if opened := far.opens(); len(opened) > 0 {
		t.Errorf("%v was opened", opened)
	}
	if got := madeOf(inspect(t, src, "x", "latest")); got != two.Abs() {
		t.Errorf("x:latest is %s", got)
	}
	if opened, want := far.opens(), []store.Path{file, two}; !slices.Equal(opened, sorted(want)) {
		t.Errorf("%v were opened, not %v", opened, want)
	}
	for _, tag := range []string{"3", "4", patch.Hash()} {
		if _, err := src.Inspect(ctx, "x", tag); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("x:%s: %v", tag, err)
		}
	}
	if opened := far.opens(); len(opened) > 0 {
		t.Errorf("%v was opened", opened)
	}
}

func sorted(p []store.Path) []store.Path { return slices.Sorted(slices.Values(p)) }

// TestChannelChanges: another release of the channel has other names.
func TestChannelChanges(t *testing.T) {
	m := storetest.New()
	one, two := m.Add("x-1", storetest.Files{"a": storetest.File("")}), m.Add("x-2", storetest.Files{"a": storetest.File("")})
	c := &fakeChannel{name: "unstable"}
	c.set(unreachable("channel"))
	src := channelSource(t, manifest.Config{Stores: stores(unlistable{m}), Channels: channels(c)})
	if _, err := src.Tags(ctx, "x"); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("before the channel was read: %v", err)
	}
	c.set(nil, store.Package{Path: one})
	if got := madeOf(inspect(t, src, "x", "latest")); got != one.Abs() {
		t.Errorf("x:latest is %s", got)
	}
	c.set(unreachable("channel"))
	if got := madeOf(inspect(t, src, "x", "latest")); got != one.Abs() {
		t.Errorf("x:latest is %s while the channel is out of reach", got)
	}
	fresh := channelSource(t, manifest.Config{Stores: stores(unlistable{m}), Channels: channels(c)})
	c.set(nil, store.Package{Path: two})
	if got := madeOf(inspect(t, fresh, "x", "latest")); got != two.Abs() {
		t.Errorf("x:latest is %s", got)
	}
}

// TestAttributeAlone: what is called as an attribute is that package, and not another build of the same version.
func TestAttributeAlone(t *testing.T) {
	m := storetest.New()
	c := &fakeChannel{name: "unstable"}
	c.add(addHello(m, "1", machineARM64))
	amd := addHello(m, "1", machineAMD64)
	c.add(amd, "hello")
	src := channelSource(t, manifest.Config{Stores: stores(unlistable{m}), Channels: channels(c)})
	if got := madeOf(inspect(t, src, "hello", "latest")); got != amd.Abs() {
		t.Errorf("hello:latest is %s", got)
	}
	if got := architectures(t, src, "hello", "1"); got != "amd64 arm64" {
		t.Errorf("hello:1 is for %s", got)
	}
}

// TestArchitectureBesideNone: what has no programs would be an image for amd64.
func TestArchitectureBesideNone(t *testing.T) {
	m := storetest.New()
	addHello(m, "1", machineARM64)
	m.Add("hello-1", storetest.Files{"share/x": storetest.File("")})
	src := channelSource(t, manifest.Config{Stores: stores(m), Architectures: []string{"arm64"}})
	if got := architectures(t, src, "hello", "1"); got != "arm64" {
		t.Errorf("hello:1 is for %s", got)
	}
}
