package manifest_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/nixreg/nixreg/manifest"
	"github.com/nixreg/nixreg/manifest/digests"
	"github.com/nixreg/nixreg/manifest/imagefile"
	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/storetest"
)

// TestOutsideTheClosure: a program that is a link to a path the package does not refer to is none, whether that path
// happens to be in the store or not.
func TestOutsideTheClosure(t *testing.T) {
	other := storetest.NewFixture("other-1", storetest.Files{"bin/linked": elf(machineARM64), "share/x": storetest.File("")})
	for name, files := range map[string]storetest.Files{
		"program":   {"bin/tool": storetest.Link(other.Path.Abs() + "/bin/linked")},
		"directory": {"bin": storetest.Link(other.Path.Abs() + "/bin")},
		"second":    {"bin/a": storetest.Link(other.Path.Abs() + "/bin/linked"), "bin/b": elf(machineAMD64)},
	} {
		var digests []v1.Hash
		for _, there := range []bool{false, true} {
			m := storetest.New()
			if there {
				m.Put(other)
			}
			p := m.Add("tool-1", files)
			m.Add("tool-1", storetest.Files{"share/y": storetest.File("")}) // two of a version: their architectures are looked at
			src := newSource(t, "", m)
			digests = append(digests, get(t, src, "tool", p.Hash()).Digest, get(t, src, "tool", "1").Digest, get(t, src, "store/"+p.Hash(), "latest").Digest)
		}
		if !slices.Equal(digests[:3], digests[3:]) {
			t.Errorf("%s: without the other path %v, with it %v", name, digests[:3], digests[3:])
		}
	}
}

// TestDeriverIsNoIdentity: which deriver a store knows differs between stores, and by hash the image must not.
func TestDeriverIsNoIdentity(t *testing.T) {
	var digests []v1.Hash
	for _, deriver := range []store.Path{"", "0123456789abcdfghijklmnpqrsvwxyz-rust-analyzer-bin.drv", "0123456789abcdfghijklmnpqrsvwxyz-rust-analyzer.drv"} {
		m := storetest.New()
		p := m.Add("rust-analyzer-bin", storetest.Files{"bin/rust-analyzer": elf(machineAMD64), "bin/x": elf(machineAMD64)})
		m.Edit(p, func(o *store.Object) { o.Deriver = deriver })
		r := inspect(t, newSource(t, "", m), "store/"+p.Hash(), "latest")
		if r.Title != "rust-analyzer-bin" {
			t.Errorf("with deriver %q the title is %s", deriver, r.Title)
		}
		digests = append(digests, r.Manifest)
	}
	if digests[0] != digests[1] || digests[1] != digests[2] {
		t.Errorf("digests are %v", digests)
	}
}

// TestReferencesAndSizes: the division into layers depends on references and sizes, so that no image which was
// remembered before they changed is given out after it.
func TestReferencesAndSizes(t *testing.T) {
	for name, change := range map[string]func(o *store.Object, other store.Path){
		"references": func(o *store.Object, other store.Path) { o.References = []store.Path{other} }, // more depends on the other
		"size":       func(o *store.Object, _ store.Path) { o.NarSize = 1 << 40 },
	} {
		m := storetest.New()
		big := m.Add("a-big-1", storetest.Files{"x": storetest.File(strings.Repeat("x", 5000))})
		small := m.Add("b-small-1", storetest.Files{"x": storetest.File("x")})
		middle := m.Add("c-middle-1", storetest.Files{"x": storetest.File(strings.Repeat("x", 4000))})
		addHello(m, "1", machineAMD64, big, small, middle)
		cache := new(shelf)
		before := get(t, withCache(t, cache, m), "hello", "1").Digest
		m.Edit(small, func(o *store.Object) { change(o, middle) })
		warm, cold := get(t, withCache(t, cache, m), "hello", "1").Digest, get(t, newSource(t, "", m), "hello", "1").Digest
		if before == cold {
			t.Errorf("%s: the order of layers does not change", name)
		}
		if warm != cold {
			t.Errorf("%s: %s with the old cache, %s without it", name, warm, cold)
		}
	}
}

// TestPathBuiltAnew: a path is deleted and built again with other contents. What was seen of it before counts no more.
func TestPathBuiltAnew(t *testing.T) {
	for name, again := range map[string]struct {
		files storetest.Files
		want  string // architecture of each image of hello:1
	}{
		"other architecture": {storetest.Files{"bin/hello": elf(machineARM64), "z": storetest.File("")}, "arm64"},
		"no program":         {storetest.Files{"share/hello": storetest.File("")}, "amd64 arm64"},
		"plain file":         {storetest.Files{"": storetest.File("")}, "arm64"},
	} {
		m := storetest.New()
		f := storetest.NewFixture("hello-1", storetest.Files{"bin/hello": elf(machineAMD64)})
		f.Registered = 100
		m.Put(f)
		addHello(m, "1", machineARM64)
		src := newSource(t, "", m)
		if got := architectures(t, src, "hello", "1"); got != "amd64 arm64" {
			t.Errorf("at first there are images for %s", got)
		}
		m.Delete(f.Path)
		f.Files, f.Registered = again.files, 200
		m.Put(f)
		fresh := newSource(t, "", m)
		for process, s := range map[string]*manifest.Source{"same": src, "new": fresh} {
			if got := architectures(t, s, "hello", "1"); got != again.want {
				t.Errorf("%s, %s process: images are for %s, not %s", name, process, got, again.want)
			}
		}
		a, _ := src.Repositories(ctx)
		b, _ := fresh.Repositories(ctx)
		if !slices.Equal(a, b) {
			t.Errorf("%s: repositories are %v, in a new process %v", name, a, b)
		}
	}
}

// TestEnvironmentOfLinks: a content of links alone is not in its own image, which holds what the links mention.
func TestEnvironmentOfLinks(t *testing.T) {
	m := storetest.New()
	lib := m.Add("lib-1", storetest.Files{"x": storetest.File("x")})
	app := m.Add("app-1", storetest.Files{"bin/app": elf(machineAMD64), "etc/.wh.x": storetest.File("")}, lib)
	m.Add("unused-1", storetest.Files{"x": storetest.File("")})
	m.Add("env-1", storetest.Files{"etc/.wh.x": storetest.Link(app.Abs() + "/etc/x"), "lib": storetest.Link(app.Abs())}, app)
	r := inspect(t, newSource(t, "", m), "env", "1")
	var contents []string
	for _, l := range r.Layers[:len(r.Layers)-1] {
		contents = append(contents, l.Contents...)
	}
	slices.Sort(contents)
	if want := []string{lib.Abs(), app.Abs()}; !slices.Equal(contents, slices.Sorted(slices.Values(want))) {
		t.Errorf("layers hold %v", contents)
	}
}

// TestWhiteoutAmongLinks: a name that runtimes take for a whiteout is reported, where only the layer of links has it.
func TestWhiteoutAmongLinks(t *testing.T) {
	m := storetest.New()
	p := m.Add("a-1", storetest.Files{"etc/x": storetest.File("")})
	m.Add("env-1", storetest.Files{"etc/.wh.x": storetest.Link(p.Abs() + "/etc/x")}, p)
	r := inspect(t, newSource(t, "", m), "env", "1")
	if len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], "etc/.wh.x") {
		t.Errorf("warnings are %q", r.Warnings)
	}
}

// TestManyLayers: a closure above 100 layers is divided into them. In nixpkgs' layering it is one less: nixpkgs' base.json, which no
// image holds, takes a layer of its own; the 97 largest paths have theirs, and what is left shares one. In the shared order the layer
// that the small paths share is below that of the content. The links come last.
func TestManyLayers(t *testing.T) {
	m := storetest.New()
	var libs []store.Path
	for i := range 150 {
		libs = append(libs, m.Add(fmt.Sprintf("lib%03d-1", i), storetest.Files{"x": storetest.File(strings.Repeat("x", 1000+8*i))}))
	}
	hello := m.Add("hello-1", storetest.Files{"bin/hello": elf(machineAMD64)}, libs...)
	for layering, c := range map[imagefile.Layering]struct {
		want  []int
		hello int // the layer of the content
	}{
		imagefile.Auto:   {append(slices.Repeat([]int{1}, 97), 54, 1), 97},
		imagefile.Shared: {append(slices.Repeat([]int{1}, 97), 53, 1, 1), 98},
	} {
		src, err := manifest.NewSource(manifest.Config{Stores: []store.Store{m}, Cache: new(digests.Memory), Layering: layering})
		if err != nil {
			t.Fatal(err)
		}
		defer src.Close()
		r := inspect(t, src, "hello", "1")
		var sizes []int
		for _, l := range r.Layers {
			sizes = append(sizes, len(l.Contents))
		}
		if !slices.Equal(sizes, c.want) || r.Layers[c.hello].Contents[0] != hello.Abs() {
			t.Errorf("%s: layers have %v paths, not %v", layering, sizes, c.want)
		}
	}
}
