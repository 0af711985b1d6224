package conformance_test

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// definedVector is a golden vector as a definition file, with what its layers must be.
type definedVector struct {
	Args  map[string]any
	IDs   []string `json:"diff_ids"`
	Graph []struct {
		Path       string
		NarSize    int64
		References []string
	}
	Conf struct {
		StoreLayers [][]string `json:"store_layers"`
		FromImage   string     `json:"from_image"`
	}
}

// readVector reads a vector, and reports whether the machine's store has what it is made of.
func readVector(t *testing.T, file string) (v definedVector, there bool) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	b = []byte(strings.ReplaceAll(string(b), `@/nix/store/`, `/nix/store/`)) // marks of references in args
	b = []byte(strings.ReplaceAll(string(b), `@/bin`, `/bin`))
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	needed := slices.Concat(slices.Concat(v.Conf.StoreLayers...), contentsOf(v.Args), []string{v.Conf.FromImage})
	return v, !slices.ContainsFunc(needed, func(p string) bool { return p != "" && !exists(t, p) })
}

func contentsOf(args map[string]any) (out []string) {
	list, _ := args["contents"].([]any)
	for _, c := range list {
		out = append(out, c.(string))
	}
	return out
}

// closureSize is the size of all that the paths of a layer need. Layers of equal sizes may stand in any order: nixpkgs'
// own depends on Python's version.
func (v *definedVector) closureSize(paths []string) (size int64) {
	seen := make(map[string]bool)
	for todo := slices.Clone(paths); len(todo) > 0; todo = todo[1:] {
		if seen[todo[0]] {
			continue
		}
		seen[todo[0]] = true
		for _, n := range v.Graph {
			if n.Path == todo[0] {
				size += n.NarSize
				todo = append(todo, n.References...)
			}
		}
	}
	return size
}

// sameLayers compares layers in their order, but for ties.
func (v *definedVector) sameLayers(got []string) bool {
	if len(got) != len(v.IDs) {
		return false
	}
	below := len(v.IDs) - 1 - len(v.Conf.StoreLayers)
	at := 0
	for at < len(got) {
		end := at + 1
		for i := at - below; i >= 0 && end-below < len(v.Conf.StoreLayers) &&
			v.closureSize(v.Conf.StoreLayers[i]) == v.closureSize(v.Conf.StoreLayers[end-below]); {
			end++
		}
		a, b := slices.Sorted(slices.Values(got[at:end])), slices.Sorted(slices.Values(prefixed(v.IDs[at:end])))
		if !slices.Equal(a, b) {
			return false
		}
		at = end
	}
	return true
}

// A definition with streamLayeredImage's arguments has streamLayeredImage's layers.
func TestDefinitionsHaveNixpkgsLayers(t *testing.T) {
	endToEnd(t)
	files, err := filepath.Glob("golden/*-*.json")
	if err != nil {
		t.Fatal(err)
	}
	vectors := make(map[string]definedVector)
	var definitions []map[string]any
	for _, file := range files {
		v, there := readVector(t, file)
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		if !there {
			t.Logf("NOT CHECKED: %s: its store paths are not in this machine's store", name)
			continue
		}
		v.Args["name"] = name
		delete(v.Args, "tag")
		vectors[name] = v
		definitions = append(definitions, v.Args)
	}
	if vectors["e-big"].IDs == nil || vectors["t1-tiny"].IDs == nil {
		t.Fatal("not in the store: conformance/nix/mkstore.sh all")
	}
	s := start(t, images(definitionFile(t, definitions)))
	for name, v := range vectors {
		m := s.image(t, name, "latest", ociManifest)[0]
		if got := digests(m.Layers); !v.sameLayers(got) {
			t.Errorf("%s: layers %v, want %v", name, got, v.IDs)
		}
	}
}

// definitionFile writes definitions as JSON.
func definitionFile(t *testing.T, definitions any) string {
	t.Helper()
	b, err := json.Marshal(definitions)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "images.json")
	if err := os.WriteFile(file, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

// yamlFile writes a definition file.
func yamlFile(t *testing.T, format string, args ...any) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "images.yaml")
	if err := os.WriteFile(file, fmt.Appendf(nil, format, args...), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

// inside are the names and modes of an image's files, links with their targets.
func inside(t *testing.T, image string) map[string]string {
	t.Helper()
	files := make(map[string]string)
	export(t, image, func(h *tar.Header, _ io.Reader) {
		files["/"+strings.TrimSuffix(h.Name, "/")] = strings.TrimSpace(fmt.Sprintf("%o %s", h.Mode&0o7777, h.Linkname))
	})
	return files
}

// The manual's three examples: the five paths of hello and their links; links alone; what the config mentions, without
// any contents.
func TestDefinitionsInDocker(t *testing.T) {
	endToEnd(t)
	hello := helloPath(t)
	s := start(t, images(yamlFile(t, `
- name: contents
  contents: [%[1]s]
  config: {Cmd: [/bin/hello]}
- name: nostore
  contents: hello
  includeStorePaths: false
- name: closure
  config: {Cmd: [%[1]s/bin/hello]}
`, hello)))
	for name, c := range map[string]struct {
		layers, paths int
		linked        bool
	}{"contents": {6, 5, true}, "nostore": {1, 0, true}, "closure": {6, 5, false}} {
		image := s.Host + "/" + name
		pull(t, image)
		if n := len(inspect(t, image).RootFS.Layers); n != c.layers {
			t.Errorf("%s has %d layers, want %d", name, n, c.layers)
		}
		files := inside(t, image)
		paths := 0
		for file := range files {
			if filepath.Dir(file) == "/nix/store" {
				paths++
			}
		}
		if paths != c.paths {
			t.Errorf("%s has %d store paths, want %d", name, paths, c.paths)
		}
		if got, want := files["/bin/hello"], "777 "+hello+"/bin/hello"; (got == want) != c.linked {
			t.Errorf("%s: /bin/hello is %q", name, got)
		}
		if name != "nostore" {
			if got := run(t, image); got != "Hello, world!\n" {
				t.Errorf("%s says %q", name, got)
			}
		}
	}
}

// What a root asks for is there when a container runs.
func TestRootInDocker(t *testing.T) {
	endToEnd(t)
	helloPath(t)
	s := start(t, images(yamlFile(t, `{name: rooted, contents: hello, root: [passwd, tmp], config: {Cmd: [/bin/hello], User: app}}`)))
	image := s.Host + "/rooted"
	pull(t, image)
	if got := run(t, image); got != "Hello, world!\n" { // Docker looks for the user in /etc/passwd
		t.Errorf("it says %q", got)
	}
	files := inside(t, image)
	for name, want := range map[string]string{"/tmp": "1777", "/etc/passwd": "644", "/etc/group": "644", "/var/empty": "555"} {
		if files[name] != want {
			t.Errorf("%s is %q, want %q", name, files[name], want)
		}
	}
}

// The database in an image is one that Nix works with.
func TestNixDBInImage(t *testing.T) {
	endToEnd(t)
	hello := helloPath(t)
	s := start(t, images(yamlFile(t, `{name: db, contents: hello, includeNixDB: true}`)))
	image := s.Host + "/db"
	pull(t, image)
	dir := t.TempDir()
	export(t, image, func(h *tar.Header, r io.Reader) { extract(t, dir, h, r) })
	env := []string{"NIX_REMOTE=local?root=" + dir, "NIX_CONFIG=build-users-group =\nsubstitute = false\n"}
	output(t, env, "nix-store", "--verify", "--check-contents")
	got := strings.Fields(output(t, env, "nix-store", "--query", "--requisites", hello))
	if want := closure(t, hello); !slices.Equal(slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(want))) {
		t.Errorf("it needs %v, not %v", got, want)
	}
}

// extract writes one file of an image below a directory, if it is one of Nix's.
func extract(t *testing.T, dir string, h *tar.Header, r io.Reader) {
	t.Helper()
	if h.Name != "nix" && !strings.HasPrefix(h.Name, "nix/") {
		return
	}
	name := filepath.Join(dir, h.Name)
	var err error
	switch h.Typeflag {
	case tar.TypeDir:
		err = os.MkdirAll(name, 0o755)
	case tar.TypeSymlink:
		err = os.Symlink(h.Linkname, name)
	case tar.TypeReg:
		var f *os.File
		if f, err = os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_EXCL, h.FileInfo().Mode().Perm()); err == nil {
			_, err = io.Copy(f, r)
			err = errors.Join(err, f.Close())
		}
	case tar.TypeLink:
		err = os.Link(filepath.Join(dir, h.Linkname), name)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Definitions of one name and tag for two architectures are an index, and every client finds its own in it.
func TestDefinedPlatforms(t *testing.T) {
	endToEnd(t)
	hello := helloPath(t)
	s := start(t, images(yamlFile(t, `
- {name: two, contents: [%[1]s], architecture: amd64, config: {Cmd: [/bin/hello]}}
- {name: two, contents: [%[1]s], architecture: arm64, config: {Cmd: [/bin/hello]}}
`, hello)))
	image := s.Host + "/two"
	crane, regctl := program{path: goTool(t, crane)}, program{path: goTool(t, regctl)}
	listed := docker(t, "manifest", "inspect", "--insecure", image)
	for _, arch := range []string{"amd64", "arm64"} {
		platform := "linux/" + arch
		digest, err := crane.run(t.Context(), "", "digest", "--insecure", "--platform", platform, image)
		if err != nil {
			t.Fatal(err)
		}
		if digest = strings.TrimSpace(digest); !strings.Contains(listed, digest) {
			t.Errorf("docker manifest inspect does not list %s of %s: %s", digest, platform, listed)
		}
		out, err := regctl.run(t.Context(), "", "--host", "reg="+s.Host+",tls=disabled", "image", "inspect", "--platform", platform, image)
		if err != nil || !strings.Contains(out, `"architecture": "`+arch+`"`) {
			t.Errorf("regctl image inspect of %s: %v: %s", platform, err, out)
		}
		docker(t, "pull", "--quiet", "--platform", platform, image)
		if got := strings.TrimSpace(docker(t, "image", "inspect", "--format", "{{.Os}}/{{.Architecture}}", image)); got != platform {
			t.Errorf("docker pull --platform %s gives %s", platform, got)
		}
		docker(t, "image", "rm", "--force", image)
	}
}
