package packages_test

import (
	"context"
	"errors"
	"iter"
	"slices"
	"strings"
	"testing"

	"github.com/nixreg/nixreg/manifest/packages"
	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/storetest"
)

// path is a store path of a test: its name, the name of its deriver without .drv, and the time of its registration. A deriver with
// "#" is another one of the same name.
type path struct {
	name, deriver string
	registered    int64
	programs      bool
}

func (p path) put(m *storetest.Memory) store.Path {
	files := storetest.Files{"share/" + p.name + p.deriver: storetest.File("")}
	if p.programs {
		files["bin/x"] = program
	}
	f := storetest.NewFixture(p.name, files)
	if p.deriver != "" {
		name, _, _ := strings.Cut(p.deriver, "#")
		f.Deriver = storetest.NewFixture(name+".drv", storetest.Files{"": storetest.File(p.deriver)}).Path
	}
	f.Registered = p.registered
	return m.Put(f)
}

// distant is a store whose paths are not opened to look at them.
type distant struct{ store.Store }

func (distant) Distant() bool { return true }

// TestMainOutput: a bare name means the output with the programs of the newest version, in a store and in a cache.
func TestMainOutput(t *testing.T) {
	const x = "x-1"
	for name, c := range map[string]struct {
		paths []path
		want  map[string]int // index of the path of a tag; -1 for none
	}{
		"bin beside out": {[]path{{x, x, 5, false}, {x + "-bin", x, 4, true}, {x + "-man", x, 9, false}},
			map[string]int{"latest": 1, "1": 1, "1-bin": 1, "1-out": 0, "1-man": 2}},
		"without derivers": {[]path{{x, "", 5, false}, {x + "-bin", "", 4, true}, {x + "-dev", "", 9, true}},
			map[string]int{"latest": 1, "1": 1, "1-out": 0, "1-dev": 2}},
		"out alone": {[]path{{x, x, 5, true}}, map[string]int{"latest": 0, "1": 0, "1-out": 0, "1-bin": -1}},
		"neither": {[]path{{x + "-dev", x, 1, false}, {x + "-tools", x, 1, true}},
			map[string]int{"latest": 1, "1": 1, "1-out": -1, "1-dev": 0}},
		"a manual alone": {[]path{{x + "-man", x, 1, false}}, map[string]int{"latest": 0, "1": -1, "1-man": 0}},
		"a manual of a newer version": {[]path{{x, x, 1, true}, {"x-2-man", "x-2", 2, false}},
			map[string]int{"latest": 0, "2": -1}},
		"no longer split": {[]path{{x, x, 1, false}, {x + "-bin", x, 1, true}, {"x-2", "x-2", 2, true}},
			map[string]int{"latest": 2, "1": 1, "2": 2}},
		"the library of a newer version": {[]path{{x, x, 1, false}, {x + "-bin", x, 1, true}, {"x-2", "x-2", 2, false}},
			map[string]int{"latest": 1, "1": 1, "2": 2}},
		"libraries": {[]path{{x, x, 2, false}, {"x-2", "x-2", 1, false}, {x + "-dev", x, 2, true}},
			map[string]int{"latest": 1, "1": 0, "2": 1}},
		"several programs in several outputs": {[]path{{x, x, 2, true}, {x + "-bin", x, 1, true}}, map[string]int{"latest": 1, "1-out": 0}},
	} {
		t.Run(name, func(t *testing.T) {
			m := storetest.New()
			var all []store.Path
			for _, p := range c.paths {
				all = append(all, p.put(m))
			}
			for kind, catalog := range map[string]*packages.Catalog{"store": catalog(t, m), "cache": catalog(t, distant{m})} {
				for tag, i := range c.want {
					images, err := catalog.Lookup(t.Context(), "x", tag)
					if i < 0 {
						if !packages.IsUnknown(err) {
							t.Errorf("%s: x:%s: %v, %v", kind, tag, images, err)
						}
						continue
					}
					if err != nil || !slices.Equal(images[0].Contents, all[i:i+1]) || len(images) > 1 {
						t.Errorf("%s: x:%s is %v, %v; want %s", kind, tag, images, err, all[i])
					}
				}
			}
		})
	}
}

// TestBuildsOfOneVersion: outputs of different derivations are not mixed. The newest build with programs is meant.
func TestBuildsOfOneVersion(t *testing.T) {
	for name, c := range map[string]struct {
		paths []path
		want  int
	}{
		"both split":            {[]path{{"x-1-bin", "x-1", 1, true}, {"x-1", "x-1", 9, false}, {"x-1-bin", "x-1#2", 5, true}}, 0},
		"the newer is not":      {[]path{{"x-1-bin", "x-1", 1, true}, {"x-1", "x-1", 2, false}, {"x-1", "x-1#2", 3, true}}, 2},
		"the older is not":      {[]path{{"x-1", "x-1#2", 1, true}, {"x-1-bin", "x-1", 2, true}, {"x-1", "x-1", 3, false}}, 1},
		"a library of a newer":  {[]path{{"x-1-bin", "x-1", 1, true}, {"x-1", "x-1#2", 3, false}}, 0},
		"a manual of a newer":   {[]path{{"x-1", "x-1", 1, true}, {"x-1-man", "x-1#2", 3, false}}, 0},
		"equal, by registering": {[]path{{"x-1", "x-1", 1, true}, {"x-1", "x-1#2", 2, true}}, 1},
	} {
		m := storetest.New()
		var all []store.Path
		for _, p := range c.paths {
			all = append(all, p.put(m))
		}
		if got := contents(t, catalog(t, m), "x", "latest"); !slices.Equal(got, all[c.want:c.want+1]) {
			t.Errorf("%s: x is %v, want %s", name, got, all[c.want])
		}
	}
}

// TestLibraryInAnEarlierStore: a store that has only the library of a package, as that of any program does, does not hide the
// programs of a later one.
func TestLibraryInAnEarlierStore(t *testing.T) {
	near, far := storetest.New(), storetest.New()
	library := path{"x-2", "x-2", 1, false}.put(near)
	plain := path{"y-1", "y-1", 1, false}.put(near)
	bin := path{"x-1-bin", "x-1", 1, true}.put(far)
	path{"x-1", "x-1", 1, false}.put(far)
	path{"y-2", "y-2", 1, false}.put(far)
	for kind, later := range map[string]store.Store{"store": far, "cache": distant{far}} {
		c := catalogOf(t, near, later)
		for ref, want := range map[[2]string]store.Path{
			{"x", "latest"}: bin, {"x", "1"}: bin, {"x", "2"}: library, {"x", library.Hash()}: library, {"y", "latest"}: plain,
		} {
			if got := contents(t, c, ref[0], ref[1]); !slices.Equal(got, []store.Path{want}) {
				t.Errorf("%s: %s is %v, want %s", kind, ref, got, want)
			}
		}
	}
}

// TestToldByABuild: what a build tells of a package is still known when its outputs are found in the store.
func TestToldByABuild(t *testing.T) {
	m := storetest.New()
	out := path{"x-1", "x-1", 1, true}.put(m)
	tools := path{"x-1-tools", "x-1", 1, true}.put(m)
	c := catalog(t, m)
	if got := contents(t, c, "x", "latest"); got[0] != out {
		t.Errorf("untold, x is %s", got)
	}
	built, err := c.ImageOfBuilt(t.Context(), packages.Built{Outputs: []store.Path{out, tools}, Main: tools, Program: "saw"})
	if err != nil || built.Contents[0] != tools || built.MainProgram != "saw" {
		t.Errorf("built: %+v, %v", built, err)
	}
	for _, tag := range []string{"latest", "1", "1-tools"} {
		images, err := c.Lookup(t.Context(), "x", tag)
		if err != nil || images[0].Contents[0] != tools || images[0].MainProgram != "saw" {
			t.Errorf("x:%s is %+v, %v", tag, images, err)
		}
	}
	if got := contents(t, c, "x", "1-out"); got[0] != out {
		t.Errorf("x:1-out is %s", got)
	}
}

// TestFixedOutput: what a fixed-output derivation made is a source and has no name. What a content-addressed derivation made has one.
func TestFixedOutput(t *testing.T) {
	for text, named := range map[string]bool{
		`Derive([("out","/nix/store/x","r:sha256","00ab")],[`: false,
		`Derive([("out","","r:sha256","")],[`:                 true,
	} {
		m := storetest.New()
		f := storetest.NewFixture("x-1", storetest.Files{"bin/x": program})
		f.CA, f.Deriver = "fixed:r:sha256:1b0ri5lsf45dknj8bfxi1syz35kglshhmbbg9z8xhc6x5ljv9bd8", m.Add("x-1.drv", storetest.Files{"": storetest.File(text)})
		m.Put(f)
		if _, err := catalog(t, m).Lookup(t.Context(), "x", "latest"); (err == nil) != named || err != nil && !packages.IsUnknown(err) {
			t.Errorf("made by %s: %v", text, err)
		}
	}
}

// unlisted is a store that lists nothing.
type unlisted struct{ store.Store }

func (unlisted) List(context.Context) iter.Seq2[store.Entry, error] {
	return func(yield func(store.Entry, error) bool) { yield(store.Entry{}, errors.ErrUnsupported) }
}

// told is a channel that tells of its packages.
type told []store.Package

func (told) Name() string                          { return "unstable" }
func (told) State(context.Context) (string, error) { return "1", nil }
func (c told) Packages(context.Context) iter.Seq2[store.Package, error] {
	return func(yield func(store.Package, error) bool) {
		for _, p := range c {
			if !yield(p, nil) {
				return
			}
		}
	}
}

// TestToldByAChannel: a channel tells the names of outputs, and which one is meant.
func TestToldByAChannel(t *testing.T) {
	m := storetest.New()
	add := func(name string) store.Path { return path{name, "", 0, true}.put(m) }
	kitty, terminfo, split, tools := add("kitty-1"), add("kitty-1-terminfo"), add("split-1"), add("split-1-tools")
	names := []string{"kitty"}
	channel := told{
		{Path: terminfo, Names: names, Output: "terminfo"}, {Path: kitty, Names: names, Output: "out"},
		{Path: split, Names: []string{"split"}, Output: "out"},
		{Path: tools, Names: []string{"split"}, Output: "tools", Main: true, Program: "saw"},
	}
	catalog := catalog(t, unlisted{m}, channel)
	for ref, want := range map[[2]string]store.Path{
		{"kitty", "latest"}: kitty, {"kitty", "1"}: kitty, {"kitty", "1-terminfo"}: terminfo,
		{"split", "latest"}: tools, {"split", "unstable"}: tools, {"split", "1"}: tools, {"split", "1-out"}: split,
	} {
		if got := contents(t, catalog, ref[0], ref[1]); !slices.Equal(got, []store.Path{want}) {
			t.Errorf("%s is %v, want %s", ref, got, want)
		}
	}
	if images, err := catalog.Lookup(t.Context(), "split", "latest"); err != nil || images[0].MainProgram != "saw" {
		t.Errorf("%+v, %v", images, err)
	}
}
