package manifest_test

import (
	"errors"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/nixreg/nixreg/manifest"
	"github.com/nixreg/nixreg/manifest/program"
	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/storetest"
)

// architectures are those of a tag's images, in their order.
func architectures(t *testing.T, src *manifest.Source, repository, tag string) string {
	t.Helper()
	reports, err := src.Inspect(ctx, repository, tag)
	if err != nil {
		t.Errorf("%s:%s: %v", repository, tag, err)
	}
	var out []string
	for _, r := range reports {
		out = append(out, r.Architecture)
	}
	return strings.Join(out, " ")
}

// TestOutputIsNeverLatest beside an out, however high its version.
func TestOutputIsNeverLatest(t *testing.T) {
	m := storetest.New()
	out := m.Add("x-1", storetest.Files{"a": storetest.File("")})
	man := m.Add("x-2-man", storetest.Files{"share/man": storetest.Dir()})
	src := newSource(t, "", m)
	for tag, want := range map[string]store.Path{"latest": out, "1": out, "2-man": man} {
		if got := madeOf(inspect(t, src, "x", tag)); got != want.Abs() {
			t.Errorf("x:%s is %s, not %s", tag, got, want)
		}
	}
}

// TestListOrder: among equals of a store that knows no times, the one listed first is taken, whatever its hash.
func TestListOrder(t *testing.T) {
	a := storetest.NewFixture("x-1", storetest.Files{"a": storetest.File("")})
	b := storetest.NewFixture("x-1", storetest.Files{"b": storetest.File("")})
	for _, order := range [][]storetest.Fixture{{a, b}, {b, a}} {
		m := storetest.New()
		m.Put(order[0])
		m.Put(order[1])
		if got := madeOf(inspect(t, newSource(t, "", m), "x", "1")); got != order[0].Path.Abs() {
			t.Errorf("x:1 is %s, not %s, which is listed first", got, order[0].Path)
		}
	}
}

// TestLongestTag: a version that is too long for a tag has only its hash.
func TestLongestTag(t *testing.T) {
	for n, want := range map[int]int{128: 3, 129: 2} {
		m := storetest.New()
		version := strings.Repeat("1", n)
		p := m.Add("x-"+version, storetest.Files{"a": storetest.File("")})
		src := newSource(t, "", m)
		tags, err := src.Tags(ctx, "x")
		if err != nil || len(tags) != want || !slices.Contains(tags, p.Hash()) || !slices.Contains(tags, "latest") {
			t.Errorf("%d characters: tags are %v, %v", n, tags, err)
		}
		if _, err := src.Inspect(ctx, "x", version); (err == nil) != (want == 3) || err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%d characters: %v", n, err)
		}
	}
}

// TestReservedNames are not listed, and not served, though there are packages of that name.
func TestReservedNames(t *testing.T) {
	m, _, _ := withHello()
	reserved := append(program.Architectures(), "store", "shell")
	for _, name := range reserved {
		m.Add(name+"-1", storetest.Files{"bin/" + name: elf(machineAMD64)})
	}
	src := newSource(t, "", m)
	if names, err := src.Repositories(ctx); err != nil || !slices.Equal(names, []string{"hello"}) {
		t.Errorf("repositories are %v, %v", names, err)
	}
	for _, name := range append(reserved, "shell/hello", "arm64/hello", "mips64/hello", "store/hello") {
		if _, err := src.Tags(ctx, name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("tags of %s: %v", name, err)
		}
	}
}

// TestReservedNamesOfImageFiles: an entry of --images has whatever name it is given.
func TestReservedNamesOfImageFiles(t *testing.T) {
	m, _, _ := withHello()
	dir := t.TempDir()
	reserved := append(program.Architectures(), "store", "shell")
	for _, name := range reserved {
		write(t, dir+"/"+name+".yaml", "name: "+name+"/hello\ncontents: hello\n")
	}
	src := newSource(t, dir, m)
	for _, name := range reserved {
		if tags, err := src.Tags(ctx, name+"/hello"); err != nil || !slices.Equal(tags, []string{"latest"}) {
			t.Errorf("%s/hello: %q, %v", name, tags, err)
		}
	}
}

// TestPreferredPlatform: a client that knows no lists gets amd64, though 386 sorts before it.
func TestPreferredPlatform(t *testing.T) {
	m := storetest.New()
	const machine386 = 3
	addHello(m, "1", machine386)
	amd := addHello(m, "1", machineAMD64)
	src := newSource(t, "", m)
	if got := architectures(t, src, "hello", "1"); got != "386 amd64" {
		t.Fatal(got)
	}
	for _, mt := range []types.MediaType{types.OCIManifestSchema1, types.DockerManifestSchema2} {
		got, err := src.Manifest(ctx, manifest.Request{Repository: "hello", Tag: "1", Accept: only(mt)})
		if err != nil {
			t.Fatal(err)
		}
		want, err := src.Manifest(ctx, manifest.Request{Repository: "hello", Tag: amd.Hash(), Accept: only(mt)})
		if err != nil || got.Digest != want.Digest {
			t.Errorf("%s: %s, not that of %s, %v", mt, got.Digest, amd, err)
		}
	}
}

// TestProgramsOfOutputBin: the image of a package has its programs, in whichever output they are, and it is the same
// image from every kind of store, through a channel, and when it was built.
func TestProgramsOfOutputBin(t *testing.T) {
	program, text := storetest.Files{"bin/jqlike": elf(machineAMD64)}, storetest.Files{"share/x": storetest.File("")}
	for name, outputs := range map[string][]output{
		"out":          {{"", program, true}, {"-dev", text, false}}, // as today
		"bin":          {{"-bin", program, true}, {"", text, false}},
		"bin and man":  {{"-bin", program, true}, {"-man", text, true}, {"-dev", text, false}, {"", text, false}},
		"bin, no text": {{"-bin", program, true}, {"", storetest.Files{}, false}},
	} {
		t.Run(name, func(t *testing.T) {
			near, derivers := storetest.New(), storetest.New()
			addOutputs(near, false, outputs)
			channel := &fakeChannel{name: "unstable"}
			for _, p := range addOutputs(derivers, true, outputs) {
				channel.add(p, "jqlike")
			}
			w := newWorkshop()
			w.plans["jqlike"] = func(string) (installed []store.Path, err error) {
				for i, p := range addOutputs(w.store, true, outputs) {
					if outputs[i].installed {
						installed = append(installed, p)
					}
				}
				return installed, nil
			}
			builds := w.source(t)
			built := get(t, builds, "jqlike", "latest").Digest
			for from, src := range map[string]*manifest.Source{
				"the build": builds, "the store of the build": newSource(t, "", w.store), "a store": newSource(t, "", derivers),
				"a store without derivers": newSource(t, "", near), "a cache": newSource(t, "", far(derivers)),
				"a channel": channelSource(t, manifest.Config{Stores: stores(unlistable{derivers}), Channels: channels(channel)}),
			} {
				for _, tag := range []string{"latest", "1.7"} {
					r := inspect(t, src, "jqlike", tag)
					if r.Manifest != built || len(r.Command) != 1 || !strings.HasSuffix(r.Command[0], "/bin/jqlike") {
						t.Errorf("from %s jqlike:%s runs %q and is %s, not %s", from, tag, r.Command, r.Manifest, built)
					}
				}
			}
		})
	}
}

// TestMainProgramIsReported: what a package says is its main program is reported if the image does not run it.
func TestMainProgramIsReported(t *testing.T) {
	for told, want := range map[string]string{"": "", "htop": "", "htop-config": "htop-config"} {
		w := newWorkshop()
		w.programs["htop"] = told
		plan, drv := w.plans["htop"], storetest.NewFixture("htop-3.3.0.drv", nil).Path
		w.plans["htop"] = func(arch string) ([]store.Path, error) {
			paths, err := plan(arch)
			w.store.Edit(paths[0], func(o *store.Object) { o.Deriver = drv })
			return paths, err
		}
		src := w.source(t)
		for _, from := range []string{"the build", "the store"} {
			if got := inspect(t, src, "htop", "latest").MainProgram; got != want {
				t.Errorf("told %q, from %s it is %q", told, from, got)
			}
		}
		if plain := inspect(t, newSource(t, "", w.store), "htop", "latest"); plain.MainProgram != "" || plain.Manifest != inspect(t, src, "htop", "latest").Manifest {
			t.Errorf("told %q, the image differs", told)
		}
	}
}

// output is one of a package's outputs.
type output struct {
	suffix    string
	files     storetest.Files
	installed bool // by who builds the package
}

// addOutputs adds the outputs of jqlike 1.7 to a store.
func addOutputs(m *storetest.Memory, derivers bool, outputs []output) (paths []store.Path) {
	drv := storetest.NewFixture("jqlike-1.7.drv", nil).Path
	for _, o := range outputs {
		f := storetest.NewFixture("jqlike-1.7"+o.suffix, o.files)
		if derivers {
			f.Deriver = drv
		}
		paths = append(paths, m.Put(f))
	}
	return paths
}

// TestContentAddressedDerivation: what a content-addressed derivation made is a package, as it has a deriver. Sources
// are none.
func TestContentAddressedDerivation(t *testing.T) {
	const ca = "fixed:r:sha256:1b0ri5lsf45dknj8bfxi1syz35kglshhmbbg9z8xhc6x5ljv9bd8"
	m := storetest.New()
	add := func(name, ca string, drv store.Path) store.Path {
		f := storetest.NewFixture(name, storetest.Files{"bin/x": elf(machineAMD64)})
		f.CA, f.Deriver = ca, drv
		return m.Put(f)
	}
	drv := storetest.NewFixture("caonly-4.5.drv", nil).Path
	main := add("caonly-4.5", ca, drv)
	dev := add("caonly-4.5-dev", ca, drv)
	plain := add("plain-1", "", storetest.NewFixture("plain-1.drv", nil).Path) // as today
	add("source-2", ca, "")
	c := &fakeChannel{name: "unstable"}
	c.add(main, "caonly")
	c.add(plain, "plain")
	for from, src := range map[string]*manifest.Source{
		"a store": newSource(t, "", m), "a cache": newSource(t, "", far(m)),
		"a channel": channelSource(t, manifest.Config{Stores: stores(unlistable{m}), Channels: channels(c)}),
	} {
		for ref, want := range map[string]store.Path{"plain:1": plain, "caonly:latest": main, "caonly:4.5": main, "caonly:4.5-dev": dev} {
			repository, tag, _ := strings.Cut(ref, ":")
			if from == "a channel" && want == dev {
				continue
			}
			if r, err := src.Inspect(ctx, repository, tag); err != nil || madeOf(r[0]) != want.Abs() {
				t.Errorf("%s of %s: %v", ref, from, err)
			}
		}
		if _, err := src.Inspect(ctx, "source", "latest"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("a source of %s: %v", from, err)
		}
	}
}
