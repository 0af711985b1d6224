package manifest_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/nixreg/nixreg/manifest"
	"github.com/nixreg/nixreg/manifest/digests"
	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/storetest"
)

// define makes a Source of one definition file.
func define(t *testing.T, s store.Store, text string) *manifest.Source {
	t.Helper()
	file := filepath.Join(t.TempDir(), "file.yaml")
	write(t, file, text)
	return withImages(t, s, file)
}

// layersOf are what the layers of an image have in them, links last.
func layersOf(r *manifest.Report) string {
	var out []string
	for _, l := range r.Layers {
		var names []string
		for _, c := range l.Contents {
			if p, rest, err := store.ParseAbs(c); err == nil && rest == "" {
				c = p.Name()
			}
			names = append(names, c)
		}
		out = append(out, strings.Join(names, "+"))
	}
	return strings.Join(out, " ")
}

// TestDefinitionNames: the images of a file have the names it gives them, whatever the file is called. Without a tag that
// is latest, and so is a tag that is alone.
func TestDefinitionNames(t *testing.T) {
	m, _, hello := withHello()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "team", "odd.json.yaml"), fmt.Sprintf(`
- { name: Web/App, tag: v1, contents: %s }
- { name: several, tag: v1, contents: %[1]s }
- { name: several, tag: v2, contents: [] }
- { name: plain, contents: %[1]s }
- { name: both, contents: %[1]s }
- { name: both, tag: v2 }
`, hello.Abs()))
	write(t, filepath.Join(dir, "conf.json"), confText(t, m, nil))
	src := withImages(t, m, dir)
	names, err := src.Repositories(ctx)
	if want := []string{"both", "conf", "hello", "plain", "several", "web/app"}; err != nil || !slices.Equal(names, want) {
		t.Errorf("repositories are %v, %v", names, err)
	}
	for name, want := range map[string]string{"web/app": "latest v1", "several": "v1 v2", "plain": "latest", "both": "latest v2"} {
		tags, err := src.Tags(ctx, name)
		if got := strings.Join(tags, " "); got != want || err != nil {
			t.Errorf("%s has the tags %s, not %s (%v)", name, got, want, err)
		}
		for _, tag := range tags {
			if r := inspect(t, src, name, tag); r.Title != name {
				t.Errorf("%s:%s has the title %s", name, tag, r.Title)
			}
		}
	}
	for _, ref := range []string{"several:latest", "plain:v1", "odd:latest", "team/odd:latest"} {
		name, tag, _ := strings.Cut(ref, ":")
		if _, err := src.Inspect(ctx, name, tag); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", ref, err)
		}
	}
}

// TestDefinitionArguments: what a file says is in the image.
func TestDefinitionArguments(t *testing.T) {
	m, lib, hello := withHello()
	m.Add("unused-1", storetest.Files{"x": storetest.File("")})
	for name, c := range map[string]struct{ args, layers, config string }{
		"contents":      {"contents: [hello]", "lib-1.0 hello-2.12.1 hello-2.12.1", `"architecture": "amd64"`},
		"hash":          {"contents: store/" + hello.Hash(), "lib-1.0 hello-2.12.1 hello-2.12.1", `"config": {}`},
		"tag":           {"contents: [hello:2.12.1]", "lib-1.0 hello-2.12.1 hello-2.12.1", `"config": {}`},
		"composite":     {"contents: [lib/hello]", "lib-1.0 hello-2.12.1 hello-2.12.1+lib-1.0", `"os": "linux"`},
		"order":         {"contents: [lib, " + hello.Abs() + "]", "lib-1.0 hello-2.12.1 lib-1.0+hello-2.12.1", `"os": "linux"`},
		"links alone":   {"contents: [hello]\nincludeStorePaths: false", "hello-2.12.1", `"architecture": "amd64"`},
		"nothing":       {"config: {User: nobody}", "", `"User": "nobody"`},
		"one layer":     {"contents: [hello]\nmaxLayers: 2", "hello-2.12.1+lib-1.0 hello-2.12.1", `"config": {}`},
		"popularity":    {"contents: [hello]\nlayering: popularity\nmaxLayers: 3", "lib-1.0 hello-2.12.1 hello-2.12.1", `"config": {}`},
		"created":       {"created: 2024-02-29T12:34:56+02:00", "", `"created": "2024-02-29T10:34:56+00:00"`},
		"platform":      {"architecture: arm\nvariant: v7", "", `"variant": "v7"`},
		"closure":       {"config:\n  Cmd: [" + hello.Abs() + "/bin/hello]", "lib-1.0 hello-2.12.1 ", hello.Abs() + "/bin/hello"},
		"key mentions":  {"config:\n  Volumes: {" + lib.Abs() + ": {}}", "lib-1.0 ", `"Volumes"`},
		"architectures": {"architecture: arm64\ncontents: [lib]", "lib-1.0 lib-1.0", `"architecture": "arm64"`},
	} {
		src := define(t, m, "name: x\n"+c.args+"\n")
		r := inspect(t, src, "x", "latest")
		if got := layersOf(r); got != c.layers {
			t.Errorf("%s: layers have %q, not %q", name, got, c.layers)
		}
		if _, config := pull(t, src, "x", "latest"); !strings.Contains(string(config), c.config) {
			t.Errorf("%s: config is %s", name, config)
		}
	}
}

// TestDefinitionNow has no stable digest, and is told so.
func TestDefinitionNow(t *testing.T) {
	m, _, _ := withHello()
	r := inspect(t, define(t, m, "{name: x, created: now, contents: hello}"), "x", "latest")
	if len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], `created is "now"`) {
		t.Errorf("warnings are %q", r.Warnings)
	}
	m.Add("odd-1", storetest.Files{"etc/.wh.x": storetest.File("")})
	r = inspect(t, define(t, m, "{name: x, created: now, contents: odd, includeStorePaths: false}"), "x", "latest")
	if len(r.Warnings) != 2 || !strings.Contains(r.Warnings[1], "etc/.wh.x") {
		t.Errorf("warnings are %q", r.Warnings)
	}
}

// TestDefinitionOwner is in the layers of store paths, and so is the time.
func TestDefinitionOwner(t *testing.T) {
	m, _, _ := withHello()
	layers := make(map[string]string)
	for _, args := range []string{"uid: 1", "gid: 1", "uname: a", "gname: a", "mtime: 1980-01-01T00:00:00Z", "created: 1980-01-01T00:00:00Z"} {
		r := inspect(t, define(t, m, "name: x\ncontents: lib\n"+args), "x", "latest")
		layers[r.Layers[0].Digest.Hex] += args
	}
	if len(layers) != 6 { // created is that of the config alone
		t.Errorf("layers are of %v", layers)
	}
}

// TestDefinitionFaults: an image that cannot be made says why and where, and the others are served.
func TestDefinitionFaults(t *testing.T) {
	m, lib, _ := withHello()
	addHello(m, "3", machineARM64)
	gone := storetest.NewFixture("gone-1", storetest.Files{"x": storetest.File("")}).Path
	for name, c := range map[string]struct {
		args string
		kind error
		text string
	}{
		"missing path":    {"contents: [lib, " + gone.Abs() + "]", fs.ErrNotExist, "file.yaml:4:19: " + gone.Abs() + " is not valid in the store"},
		"missing package": {"contents: [nosuch]", fs.ErrNotExist, "file.yaml:4:14: no image or package called nosuch"},
		"missing tag":     {"contents: [hello:9]", fs.ErrNotExist, "file.yaml:4:14: hello has no tag 9"},
		"missing hash":    {"contents: [store/" + gone.Hash() + "]", fs.ErrNotExist, "file.yaml:4:14: "},
		"two missing":     {"contents: [nosuch, nothing]", fs.ErrNotExist, "file.yaml:4:14: no image or package called nosuch\nfile.yaml:4:22: no image or package called nothing"},
		"architecture":    {"architecture: s390x\ncontents: [hello]", fs.ErrNotExist, "file.yaml:5:14: hello is in the store for arm64, not for s390x"},
		"mention":         {"config:\n  Cmd: [" + gone.Abs() + "/bin/x]", fs.ErrNotExist, "file.yaml:2:3: config mentions " + gone.Abs() + ", which is not valid"},
		"other name":      {"config:\n  Cmd: [/nix/store/" + lib.Hash() + "-other]", fs.ErrNotExist, "config mentions /nix/store/" + lib.Hash() + "-other"},
		"base":            {"fromImage: nosuch.tar", fs.ErrNotExist, "file.yaml:2:3: fromImage: nosuch.tar: no such file"},
		"base in store":   {"fromImage: " + gone.Abs(), fs.ErrNotExist, "file.yaml:2:3: fromImage: "},
		"base elsewhere":  {"fromImage: docker://example.com/x@sha256:" + strings.Repeat("1", 64), errors.ErrUnsupported, "file.yaml:2:3: fromImage: docker://example.com/x"},
	} {
		src := define(t, m, "- {name: good, contents: lib}\n- name: x\n  "+strings.ReplaceAll("tag: v1\n"+c.args, "\n", "\n  "))
		inspect(t, src, "good", "latest")
		_, err := src.Inspect(ctx, "x", "latest")
		if !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestDefinitionPlatforms: several architectures of one name and tag are an index.
func TestDefinitionPlatforms(t *testing.T) {
	m := storetest.New()
	for _, machine := range []byte{machineARM64, machineAMD64} {
		addHello(m, "1", machine)
	}
	src := define(t, m, `
- {name: x, contents: hello, architecture: arm64}
- {name: x, contents: hello}
- {name: x, architecture: arm, variant: v7}
- {name: x, architecture: arm, variant: v6}
- {name: y, contents: hello}
`)
	var got []string
	for _, r := range mustInspect(t, src, "x") {
		got = append(got, r.Architecture+r.Variant)
	}
	if want := []string{"amd64", "armv6", "armv7", "arm64"}; !slices.Equal(got, want) {
		t.Errorf("platforms are %v, not %v", got, want)
	}
	for _, mt := range []types.MediaType{types.OCIImageIndex, types.DockerManifestList} {
		if d, err := src.Manifest(ctx, manifest.Request{Repository: "x", Tag: "latest", Accept: only(mt)}); err != nil || d.MediaType != mt {
			t.Errorf("%s: %v, %v", mt, d, err)
		}
	}
	if r := inspect(t, src, "y", "latest"); r.Architecture != "amd64" {
		t.Errorf("of several architectures %s is taken", r.Architecture)
	}
}

// TestArchitectureOfMentioned: what the config mentions comes before the rest of the closure, whatever its hash.
func TestArchitectureOfMentioned(t *testing.T) {
	m := storetest.New()
	var later store.Path
	lib := m.Add("lib-1", storetest.Files{"bin/lib": elf(machineAMD64)})
	for i := 0; later <= lib; i++ {
		later = m.Add(fmt.Sprintf("app%d-1", i), storetest.Files{"bin/app": elf(machineARM64)}, lib)
	}
	r := inspect(t, define(t, m, "{name: x, config: {Cmd: ["+later.Abs()+"/bin/app]}}"), "x", "latest")
	if r.Architecture != "arm64" {
		t.Errorf("architecture is %s", r.Architecture)
	}
}

// TestSamePlatform: two images of one name, tag and platform are a mistake that shows only when the programs are known.
func TestSamePlatform(t *testing.T) {
	m := storetest.New()
	p := addHello(m, "1", machineARM64)
	lib := m.Add("lib-1", storetest.Files{"x": storetest.File("")})
	for text, want := range map[string]string{
		"- {name: x, contents: hello, architecture: arm64}\n- {name: x, contents: " + p.Abs() + "}":   "file.yaml:2:3: its programs are for arm64, as those",
		"- {name: x, contents: hello, architecture: arm64}\n- {name: x, contents: " + lib.Abs() + "}": "file.yaml:2:3: no program tells its architecture",
	} {
		if _, err := define(t, m, text).Inspect(ctx, "x", "latest"); !errors.Is(err, fs.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func mustInspect(t *testing.T, src *manifest.Source, name string) []*manifest.Report {
	t.Helper()
	reports, err := src.Inspect(ctx, name, "latest")
	if err != nil {
		t.Fatal(err)
	}
	return reports
}

// definedVector makes a definition file of a vector's arguments.
func definedVector(t *testing.T, name string) (file string, v vector, layers [][]string, sizes map[string]int64) {
	t.Helper()
	b, err := os.ReadFile("../conformance/golden/" + name + ".json")
	if err != nil {
		t.Fatal(err)
	}
	var g struct {
		vector
		Args map[string]any
		Conf struct {
			StoreLayers [][]string `json:"store_layers"`
		}
		Graph []graphNode
	}
	if err := json.Unmarshal(b, &g); err != nil {
		t.Fatal(err)
	}
	delete(g.Args, "tag")
	g.Args["name"] = "x"
	file = filepath.Join(t.TempDir(), "x.json")
	write(t, file, encode(t, g.Args))
	return file, g.vector, g.Conf.StoreLayers, closureSizes(g.Graph)
}

type graphNode struct {
	Path       string
	NarSize    int64
	References []string
}

// closureSizes tells how large the closure of each path is.
func closureSizes(graph []graphNode) map[string]int64 {
	byPath := make(map[string]graphNode)
	for _, n := range graph {
		byPath[n.Path] = n
	}
	sizes := make(map[string]int64)
	for _, n := range graph {
		seen := map[string]bool{n.Path: true}
		for todo := []string{n.Path}; len(todo) > 0; todo = todo[1:] {
			sizes[n.Path] += byPath[todo[0]].NarSize
			for _, r := range byPath[todo[0]].References {
				if !seen[r] {
					seen[r] = true
					todo = append(todo, r)
				}
			}
		}
	}
	return sizes
}

// TestDefinitionGolden holds images of definitions against nixpkgs' bytes: the same layers, in the same order. Of equal
// closure sizes, as leaf and twin have, the order is Python's hash of strings.
func TestDefinitionGolden(t *testing.T) {
	s := tinyCache(t)
	for _, name := range []string{"t1-tiny", "t2-tiny-max4", "t3-tiny-pop", "t4-tiny-links-only", "t5-tiny-env"} {
		t.Run(name, func(t *testing.T) {
			file, v, layers, sizes := definedVector(t, name)
			m, _ := pull(t, withImages(t, s, file), "x", "latest")
			var got []string
			for _, l := range m.Layers {
				got = append(got, l.Digest.String())
			}
			for i := range len(layers) - 1 {
				a, b := layers[i], layers[i+1]
				if len(a) == 1 && len(b) == 1 && sizes[a[0]] == sizes[b[0]] && got[i] != v.DiffIDs[i] {
					got[i], got[i+1] = got[i+1], got[i]
				}
			}
			if !slices.Equal(got, v.DiffIDs) {
				t.Errorf("layers are\n%s\nnot\n%s", strings.Join(got, "\n"), strings.Join(v.DiffIDs, "\n"))
			}
		})
	}
}

// BenchmarkDefinitions loads a file of 1,000 images whose store paths are all looked at.
func BenchmarkDefinitions(b *testing.B) {
	m, _, hello := withHello()
	var text strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&text, "---\nname: team/app%d\ntag: v1\ncontents:\n  - %s\n  - hello\nconfig:\n  Cmd: [/bin/hello]\n  Env: [PATH=/bin, N=%d]\n", i, hello.Abs(), i)
	}
	file := filepath.Join(b.TempDir(), "many.yaml")
	if err := os.WriteFile(file, []byte(text.String()), 0o644); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		src, err := manifest.NewSource(manifest.Config{Stores: []store.Store{m}, Images: []string{file}, Cache: new(digests.Memory)})
		if err != nil {
			b.Fatal(err)
		}
		if names, err := src.Repositories(ctx); err != nil || len(names) != 1001 {
			b.Fatal(len(names), err)
		}
		if _, err := src.Tags(ctx, "team/app999"); err != nil {
			b.Fatal(err)
		}
		src.Close()
	}
}

// TestDefinitionDatabase: a Nix database is a layer of its own, below the links.
func TestDefinitionDatabase(t *testing.T) {
	m, lib, hello := withHello()
	src := define(t, m, "{name: x, contents: hello, includeNixDB: true, maxLayers: 3, config: {Env: [X="+lib.Abs()+"]}}")
	if got := layersOf(inspect(t, src, "x", "latest")); got != "hello-2.12.1+lib-1.0 nix database hello-2.12.1" {
		t.Errorf("layers have %s", got)
	}
	_, entries, config := rootOf(t, src, "x")
	all := strings.Join(entries, "\n")
	for _, p := range []store.Path{lib, hello} {
		if !strings.Contains(all, "./nix/var/nix/gcroots/docker/"+string(p)+" 777 "+p.Abs()) {
			t.Errorf("%s has no root: %s", p, all)
		}
	}
	if !strings.Contains(all, "./nix/var/nix/db/db.sqlite 644 SQLite format 3") || !strings.Contains(config, `"comment": "nix database"`) {
		t.Errorf("%s, %s", all, config)
	}
}

// TestOwnerOfNixDB: with a Nix database, too, the directories of the store are the owner's that was asked for.
func TestOwnerOfNixDB(t *testing.T) {
	m, _, _ := withHello()
	const owned = "{name: x, contents: hello, uid: 1000, gid: 100, uname: app, gname: users"
	plain, withDB := define(t, m, owned+"}"), define(t, m, owned+", includeNixDB: true}")
	for name, src := range map[string]*manifest.Source{
		"nix": plain, "nix/store": plain, "/nix": withDB, "/nix/store": withDB, "/nix/var": withDB, "/nix/var/nix": withDB,
		"/nix/var/nix/db": withDB, "/nix/var/nix/db/db.sqlite": withDB, "/nix/var/nix/gcroots": withDB, "/nix/var/nix/temproots": withDB,
	} {
		top, _ := onTop(t, src, "x", strings.TrimPrefix(name, "/"))
		if top.Uid != 1000 || top.Gid != 100 {
			t.Errorf("%s belongs to %d:%d (%q)", name, top.Uid, top.Gid, top.Name)
		}
	}
}

// TestContentCalledNix: an image cannot start whose contents have something else than a directory in the place of
// /nix. Its bytes are nixpkgs', so it is told as a whiteout is.
func TestContentCalledNix(t *testing.T) {
	for name, nix := range map[string]storetest.Item{"link": storetest.Link("share"), "file": storetest.File("x"), "whiteout": {}} {
		m := storetest.New()
		files := storetest.Files{"share/x": storetest.File(""), "bin/odd": elf(machineAMD64), "nix": nix}
		if name == "whiteout" { // as today
			delete(files, "nix")
			files[".wh.nix"] = storetest.File("")
		}
		p := m.Add("odd-1", files)
		for from, src := range map[string]*manifest.Source{"a package": newSource(t, "", m), "a definition": define(t, m, "{name: odd, contents: odd}")} {
			if warnings := strings.Join(inspect(t, src, "odd", "latest").Warnings, "\n"); !strings.Contains(warnings, p.Abs()) || !strings.Contains(warnings, "nix") {
				t.Errorf("%s in %s: warnings are %q", name, from, warnings)
			}
		}
	}
}

// TestCheckWarns: check tells what serve tells of an image, although it hashes nothing.
func TestCheckWarns(t *testing.T) {
	m, _, _ := withHello()
	m.Add("odd-1", storetest.Files{"etc/.wh.x": storetest.File(""), "bin/odd": elf(machineAMD64)})
	for definition, want := range map[string]string{
		"{name: x, contents: [odd]}":                            "etc/.wh.x",
		"{name: x, contents: [hello], created: now}":            "now",
		"{name: x, contents: [hello], config: {Cmd: [absent]}}": "absent",
	} {
		file := filepath.Join(t.TempDir(), "x.yaml")
		write(t, file, definition)
		var warned []string
		cfg := manifest.Config{Stores: []store.Store{m}, Cache: new(digests.Memory), Warn: func(err error) { warned = append(warned, err.Error()) }}
		if err := manifest.Check(ctx, cfg, file); err != nil || len(warned) != 1 || !strings.Contains(warned[0], want) || !strings.Contains(warned[0], "x.yaml:1:") {
			t.Errorf("%s: %q, %v", definition, warned, err)
		}
	}
}
