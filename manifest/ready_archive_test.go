package manifest_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/nixreg/nixreg/manifest"
	"github.com/nixreg/nixreg/manifest/digests"
	"github.com/nixreg/nixreg/manifest/layer"
	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/storetest"
)

var packers = map[string]func(*testing.T, []byte) []byte{"plain": unpacked, "gzip": gzipped, "zstd": zstandard}

// TestArchives: whoever wrote an archive, and however it is compressed, its image is served as it is.
func TestArchives(t *testing.T) {
	for style, write := range map[string]func(*finished, *testing.T) []byte{
		"nixpkgs": (*finished).nixpkgs, "docker save": (*finished).dockerSave, "skopeo": (*finished).skopeo, "new docker save": (*finished).newDocker,
	} {
		for inner, packLayer := range packers {
			for outer, pack := range packers {
				t.Run(style+", "+inner+" layers, "+outer, func(t *testing.T) {
					f := newFinished(t, packLayer)
					b := pack(t, write(f, t))
					dir := t.TempDir()
					if err := os.WriteFile(filepath.Join(dir, "app.tar.gz"), b, 0o644); err != nil {
						t.Fatal(err)
					}
					src := newSource(t, dir, storetest.New())
					f.check(t, src, "v1")
					f.check(t, src, "latest")
				})
			}
		}
	}
}

// check pulls the image and compares it with what it was made of.
func (f *finished) check(t *testing.T, src *manifest.Source, tag string) {
	t.Helper()
	m, config := pull(t, src, "app", tag)
	if string(config) != f.config {
		t.Errorf("config is %q", config)
	}
	want := map[string]types.MediaType{"\x1f\x8b": types.OCILayer, "\x28\xb5": types.OCILayerZStd}
	for i, l := range m.Layers {
		if l.Digest.Hex != sha256Hex(f.layers[i]) || l.Size != int64(len(f.layers[i])) {
			t.Errorf("layer %d is %s, %d bytes", i, l.Digest, l.Size)
		}
		mediaType := want[string(f.layers[i][:2])]
		if mediaType == "" {
			mediaType = types.OCIUncompressedLayer
		}
		if l.MediaType != mediaType {
			t.Errorf("layer %d is of type %s, not %s", i, l.MediaType, mediaType)
		}
		part(t, src, l.Digest, f.layers[i], 3, 20)
	}
	if len(m.Layers) != len(f.layers) {
		t.Errorf("%d layers", len(m.Layers))
	}
	if tags, err := src.Tags(ctx, "app"); err != nil || !slices.Equal(tags, []string{"latest", "v1"}) {
		t.Errorf("tags are %q, %v", tags, err)
	}
	if r := inspect(t, src, "app", tag); r.Architecture != "amd64" || r.OS != "linux" || r.Config.Hex != sha256Hex([]byte(f.config)) ||
		!slices.Equal(r.Command, []string{"/app"}) || !slices.Equal(r.Env, []string{"A=1"}) {
		t.Errorf("report is %+v", r)
	}
}

func part(t *testing.T, src *manifest.Source, d v1.Hash, whole []byte, off, n int64) {
	t.Helper()
	b, err := src.Blob(ctx, "app", d)
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	if err := b.WriteRange(ctx, &got, off, n); err != nil || got.String() != string(whole[off:off+n]) {
		t.Errorf("bytes %d+%d of %s are %q, %v", off, n, d, got.String(), err)
	}
}

// writeArchive puts an archive into a new directory of images, as the image app.
func writeArchive(t *testing.T, b []byte) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "app.tar"), b, 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestArchiveInTheStore: a link into the store leads to an archive as nix-build leaves it.
func TestArchiveInTheStore(t *testing.T) {
	f := newFinished(t, unpacked)
	m := storetest.New()
	p := m.Add("docker-image-app.tar.gz", storetest.Files{"": storetest.File(string(gzipped(t, f.nixpkgs(t))))})
	inside := m.Add("other", storetest.Files{"share/app.tar": storetest.File(string(f.nixpkgs(t)))})
	for _, target := range []string{p.Abs(), inside.Abs() + "/share/app.tar"} {
		dir := t.TempDir()
		link(t, target, filepath.Join(dir, "app"))
		f.check(t, newSource(t, dir, m), "v1")
	}
}

// TestDockerKnowsNoZstd: an image with a layer for which Docker has no type is served to who takes OCI's.
func TestDockerKnowsNoZstd(t *testing.T) {
	dir := writeArchive(t, newFinished(t, zstandard).nixpkgs(t))
	src := newSource(t, dir, storetest.New())
	dockerFirst := func(offers ...types.MediaType) (types.MediaType, bool) { return offers[len(offers)-1], true }
	d, err := src.Manifest(ctx, manifest.Request{Repository: "app", Tag: "latest", Accept: dockerFirst})
	if err != nil || d.MediaType != types.OCIManifestSchema1 {
		t.Errorf("%+v, %v", d, err)
	}
	if _, err := src.Manifest(ctx, manifest.Request{Repository: "app", Tag: "latest", Accept: only(types.DockerManifestSchema2)}); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("for Docker alone: %v", err)
	}
	if r := inspect(t, src, "app", "latest"); r.DockerManifest != (v1.Hash{}) {
		t.Errorf("manifest for Docker is %s", r.DockerManifest)
	}
	gz := newSource(t, writeArchive(t, newFinished(t, gzipped).nixpkgs(t)), storetest.New())
	d, err = gz.Manifest(ctx, manifest.Request{Repository: "app", Tag: "latest", Accept: only(types.DockerManifestSchema2)})
	if err != nil || !strings.Contains(string(d.Data), string(types.DockerLayer)) {
		t.Errorf("gzip for Docker: %+v, %v", d, err)
	}
}

// TestReadyIsNotEncoded: --layer-encoding is for layers that nixreg makes.
func TestReadyIsNotEncoded(t *testing.T) {
	dir := writeArchive(t, newFinished(t, unpacked).nixpkgs(t))
	plain := get(t, newSource(t, dir, storetest.New()), "app", "latest")
	for _, e := range []layer.Encoding{layer.Gzip, layer.Zstd} {
		src, err := manifest.NewSource(manifest.Config{
			Stores: []store.Store{storetest.New()}, Images: []string{dir}, Cache: new(digests.Memory), Encoding: e,
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { src.Close() })
		if d := get(t, src, "app", "latest"); d.Digest != plain.Digest {
			t.Errorf("%s: %s", e, d.Data)
		}
	}
}

// TestSeveralImagesInOneArchive: each answers to its own tags; latest is the one that says so.
func TestSeveralImagesInOneArchive(t *testing.T) {
	f := newFinished(t, unpacked)
	one, two := f.config, strings.Replace(f.config, "A=1", "A=2", 1)
	build := func(tags ...[]string) string { return f.several(t, []string{one, two}, tags) }
	for _, c := range []struct {
		tags [][]string
		want map[string]string
	}{
		{[][]string{{"a:v1", "a:v1.0"}, {"b:v2"}}, map[string]string{"v1": one, "v1.0": one, "v2": two}},
		{[][]string{{"a:v1"}, {"b:v1", "b:latest"}}, map[string]string{"v1": one, "latest": two, "b-v1": two}},
		{[][]string{{"a:latest"}, {"host:5000/x/b:latest"}}, map[string]string{"latest": one, "b-latest": two}},
		{[][]string{{"a:latest"}, {"a:latest"}}, map[string]string{"latest": one, "a-latest": two}},
		{[][]string{{"a:latest", "a:v1"}, {}}, map[string]string{"latest": one, "v1": one, "image-2": two}},
		{[][]string{{}, {}}, map[string]string{"image-1": one, "image-2": two}},
		{[][]string{{}}, map[string]string{"latest": one}},
		{[][]string{{"localhost:5000/a", "a:no tag"}}, map[string]string{"latest": one}},
	} {
		src := newSource(t, writeArchive(t, []byte(build(c.tags...))), storetest.New())
		tags, err := src.Tags(ctx, "app")
		if err != nil || len(tags) != len(c.want) {
			t.Errorf("%q: tags are %q, %v", c.tags, tags, err)
		}
		for tag, config := range c.want {
			if _, got := pull(t, src, "app", tag); string(got) != config {
				t.Errorf("%q: app:%s has config %s", c.tags, tag, got)
			}
		}
		if _, err := src.Inspect(ctx, "app", "v3"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%q: app:v3: %v", c.tags, err)
		}
	}
}

// several is an archive of images that differ in their config alone, each with its tags.
func (f *finished) several(t *testing.T, configs []string, tags [][]string) string {
	var a archive
	var names []string
	for i, l := range f.layers {
		names = append(names, string(rune('a'+i)))
		a.file(t, names[i], string(l))
	}
	var images []any
	for i, config := range configs {
		file := fmt.Sprint(i, ".json")
		a.file(t, file, config)
		if i < len(tags) {
			images = append(images, map[string]any{"Config": file, "RepoTags": tags[i], "Layers": names})
		}
	}
	a.file(t, "manifest.json", encode(t, images))
	return string(a.bytes(t))
}

// TestSeveralLatest: each image of an archive has a name, although all are called latest, or is a fault by its own name.
func TestSeveralLatest(t *testing.T) {
	f := newFinished(t, unpacked)
	second := strings.Replace(f.config, `"Cmd"`, `"Entrypoint"`, 1)
	for _, tags := range [][]string{
		{"redis:v1", "bash:v2"}, // as today
		{"redis:latest", "bash:latest"}, {"app:latest", "bash:latest"}, {"redis:v1", "bash:v1"},
	} {
		src := newSource(t, writeArchive(t, []byte(f.several(t, []string{f.config, second}, [][]string{{tags[0]}, {tags[1]}}))), storetest.New())
		names, err := src.Repositories(ctx)
		if err != nil {
			t.Fatal(err)
		}
		served := make(map[string]bool)
		for _, name := range names {
			own, err := src.Tags(ctx, name)
			if err != nil {
				t.Fatal(err)
			}
			for _, tag := range own {
				_, config := pull(t, src, name, tag)
				served[string(config)] = true
			}
		}
		faults := strings.Join(src.Catalog().Faults(ctx), "\n")
		for i, config := range []string{f.config, second} {
			if !served[config] && !strings.Contains(faults, tags[i]) {
				t.Errorf("%q: %s is lost, and faults are %q", tags, tags[i], faults)
			}
		}
	}
}

// TestDamagedArchives: what an archive says of itself must be true, before anything of it is served.
func TestDamagedArchives(t *testing.T) {
	good := func(pack func(*testing.T, []byte) []byte) *finished { return newFinished(t, pack) }
	for name, b := range map[string][]byte{
		"other diffID": func() []byte {
			f := good(unpacked)
			f.layers[1] = layerTar(t, "etc/two", "three")
			return f.nixpkgs(t)
		}(),
		"diffID of the packed bytes": func() []byte {
			f := good(gzipped)
			f.diffIDs[0] = "sha256:" + sha256Hex(f.layers[0])
			f.describe(t, "amd64")
			return f.nixpkgs(t)
		}(),
		"truncated layer": func() []byte {
			f := good(gzipped)
			f.layers[1] = f.layers[1][:len(f.layers[1])-9]
			return f.nixpkgs(t)
		}(),
		"damaged zstd layer": func() []byte {
			f := good(zstandard)
			f.layers[0][len(f.layers[0])/2] ^= 1
			return f.nixpkgs(t)
		}(),
		"fewer diffIDs":    bytes.Replace(good(unpacked).nixpkgs(t), []byte(good(unpacked).diffIDs[2]+`"]`), []byte(strings.Repeat(" ", 70)+`""]`), 1),
		"missing member":   bytes.ReplaceAll(good(unpacked).nixpkgs(t), []byte(`"bbbb`), []byte(`"xbbb`)),
		"path out of it":   bytes.ReplaceAll(good(unpacked).nixpkgs(t), []byte(`"bbbb`), []byte(`"/../`)),
		"link out of it":   linkedOut(t),
		"no manifest.json": layerTar(t, "x", "x"),
		"empty list":       layerTar(t, "manifest.json", "[]"),
		"no JSON":          layerTar(t, "manifest.json", "{"),
		"truncated":        good(unpacked).nixpkgs(t)[:20_000],
		"truncated gzip":   gzipped(t, good(unpacked).nixpkgs(t))[:600],
		"truncated zstd":   zstandard(t, good(unpacked).nixpkgs(t))[:600],
		"xz":               []byte("\xfd7zXZ\x00 and so on"),
	} {
		_, err := newSource(t, writeArchive(t, b), storetest.New()).Inspect(ctx, "app", "latest")
		if !errors.Is(err, fs.ErrInvalid) && !errors.Is(err, errors.ErrUnsupported) || err != nil && strings.Contains(err.Error(), "/tmp") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestArchivesOfOtherKinds: who gives what is nearly a docker-archive is told what to do, and no error names its archive
// twice.
func TestArchivesOfOtherKinds(t *testing.T) {
	f := newFinished(t, unpacked)
	fewer := newFinished(t, unpacked)
	fewer.diffIDs = fewer.diffIDs[:2]
	fewer.describe(t, "amd64")
	old, root, other := new(archive), new(archive), new(archive)
	old.file(t, "repositories", "{}")
	root.file(t, "./etc/passwd", "root:x:0:0::/:/bin/sh\n")
	other.file(t, "README", "x")
	for want, b := range map[string][]byte{
		"load it and save it":  old.bytes(t),
		"a root file system":   root.bytes(t),
		"neither a docker-arc": other.bytes(t),
		`no member "xbbb`:      bytes.ReplaceAll(f.nixpkgs(t), []byte(`"bbbb`), []byte(`"xbbb`)),
		"3 layers, but 2 diff": fewer.nixpkgs(t),
	} {
		_, err := newSource(t, writeArchive(t, b), storetest.New()).Inspect(ctx, "app", "latest")
		if err == nil || !strings.Contains(err.Error(), want) || strings.Count(err.Error(), "file-app.tar") > 1 {
			t.Errorf("%v does not say %q", err, want)
		}
	}
}

// TestManyTags: an archive with very many tags is looked through once, not once for each of them.
func TestManyTags(t *testing.T) {
	if testing.Short() {
		t.Skip("computes for long in one goroutine")
	}
	const many = 200_000 // of two images: twenty milliards of pairs
	f := newFinished(t, unpacked)
	var tags [2][]string
	for i := range many {
		tags[0] = append(tags[0], "a:a"+strconv.Itoa(i))
		tags[1] = append(tags[1], "a:b"+strconv.Itoa(i))
	}
	var a archive
	a.file(t, "config", f.config)
	a.file(t, "layer", string(f.layers[0]))
	one := map[string]any{"Config": "config", "RepoTags": tags[0], "Layers": []string{"layer", "layer", "layer"}}
	two := map[string]any{"Config": "config", "RepoTags": append(tags[1], "a:a7"), "Layers": []string{}}
	a.file(t, "manifest.json", encode(t, []any{one, two}))
	src := newSource(t, writeArchive(t, a.bytes(t)), storetest.New())
	if got, err := src.Tags(ctx, "app"); err != nil || len(got) != 2*many+1 { // a-a7, too
		t.Errorf("%d tags, %v", len(got), err)
	}
}

// TestPackedLayout: an OCI layout in a tar, as podman and skopeo write it, is the image that it is in a directory, byte for byte.
func TestPackedLayout(t *testing.T) {
	f := newFinished(t, gzipped)
	dir := t.TempDir()
	files := f.layout(t)
	writeAll(t, filepath.Join(dir, "plain"), files)
	var tar archive
	for _, name := range slices.Sorted(maps.Keys(files)) {
		tar.file(t, name, files[name])
	}
	b := tar.bytes(t)
	for name, pack := range map[string]func(*testing.T, []byte) []byte{"tar": unpacked, "gz": gzipped, "zst": zstandard} {
		write(t, filepath.Join(dir, name), string(pack(t, b)))
		write(t, filepath.Join(dir, "on-"+name+".yaml"), "{name: on-"+name+", fromImage: ./"+name+"}")
	}
	write(t, filepath.Join(dir, "on-plain.yaml"), "{name: on-plain, fromImage: ./plain}")
	src := newSource(t, dir, storetest.New())
	for _, prefix := range []string{"", "on-"} {
		want, config := pull(t, src, prefix+"plain", "latest")
		for _, name := range []string{"tar", "gz", "zst"} {
			got, same := pull(t, src, prefix+name, "latest")
			if prefix != "" {
				got.Annotations, want.Annotations = nil, nil // the title is the name
			}
			if !reflect.DeepEqual(got, want) || string(same) != string(config) {
				t.Errorf("%s%s: %+v, want %+v", prefix, name, got, want)
			}
			for _, l := range got.Layers {
				digest(t, src, prefix+name, l.Digest, new(bytes.Buffer))
			}
		}
	}
}

// TestDamagedPackedLayout: a layout in a tar is checked as one in a directory is.
func TestDamagedPackedLayout(t *testing.T) {
	for name, damage := range map[string]func(files map[string]string){
		"no layer": func(files map[string]string) {
			for name, data := range files {
				if strings.HasPrefix(name, "blobs/") && !strings.HasPrefix(data, "{") {
					delete(files, name)
				}
			}
		},
		"other bytes": func(files map[string]string) {
			for name, data := range files {
				if strings.HasPrefix(name, "blobs/") && !strings.HasPrefix(data, "{") {
					files[name] = data[:len(data)-1] + "x"
				}
			}
		},
		"no index": func(files map[string]string) { delete(files, "index.json") },
		"no list":  func(files map[string]string) { files["index.json"] = "{}" },
	} {
		files := newFinished(t, unpacked).layout(t)
		damage(files)
		var tar archive
		for _, name := range slices.Sorted(maps.Keys(files)) {
			tar.file(t, name, files[name])
		}
		_, err := newSource(t, writeArchive(t, tar.bytes(t)), storetest.New()).Inspect(ctx, "app", "latest")
		if !errors.Is(err, fs.ErrInvalid) && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func linkedOut(t *testing.T) []byte {
	f := newFinished(t, unpacked)
	var a archive
	a.file(t, "config.json", f.config)
	a.link(t, "layer", "../../../etc/passwd")
	a.file(t, "manifest.json", manifestOf(t, "config.json", nil, []string{"layer", "layer", "layer"}))
	return a.bytes(t)
}

// TestReplacedArchive: when another archive takes a name, the new image is served, and of the old one nothing that is
// not its own.
func TestReplacedArchive(t *testing.T) {
	for name, pack := range packers {
		t.Run(name, func(t *testing.T) {
			old, next := newFinished(t, unpacked), newFinished(t, unpacked)
			next.layers[1] = layerTar(t, "etc/two", "new")
			next.diffIDs[1] = "sha256:" + sha256Hex(next.layers[1])
			next.describe(t, "amd64")
			dir := writeArchive(t, pack(t, old.nixpkgs(t)))
			file := filepath.Join(dir, "app.tar")
			src := newSource(t, dir, storetest.New())
			m, _ := pull(t, src, "app", "v1")
			open, err := src.Blob(ctx, "app", m.Layers[1].Digest)
			if err != nil {
				t.Fatal(err)
			}
			write(t, file+".new", string(pack(t, next.nixpkgs(t))))
			if err := os.Rename(file+".new", file); err != nil {
				t.Fatal(err)
			}
			var got bytes.Buffer
			if err := open.WriteRange(ctx, &got, 0, open.Size()); !errors.Is(err, fs.ErrNotExist) || int64(got.Len()) >= open.Size() {
				t.Errorf("an open layer: %d of %d bytes, %v", got.Len(), open.Size(), err)
			}
			if _, err := src.Blob(ctx, "app", m.Layers[1].Digest); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("a layer that is gone: %v", err)
			}
			next.check(t, src, "v1")
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
			if _, err := src.Inspect(ctx, "app", "v1"); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("an image that is gone: %v", err)
			}
		})
	}
}

// TestRepackedArchive: the same image in another archive of the name: its layers lie elsewhere now.
func TestRepackedArchive(t *testing.T) {
	f := newFinished(t, unpacked)
	dir := writeArchive(t, f.nixpkgs(t))
	src := newSource(t, dir, storetest.New())
	f.check(t, src, "v1")
	replace(t, filepath.Join(dir, "app.tar"), string(f.skopeo(t)))
	f.check(t, src, "v1")
}

// TestTouchedArchive: a file with another time and the same contents is served as before: its layers have the same
// digests, made of what is another file now.
func TestTouchedArchive(t *testing.T) {
	f := newFinished(t, unpacked)
	dir := writeArchive(t, f.nixpkgs(t))
	src := newSource(t, dir, storetest.New())
	f.check(t, src, "v1")
	then := time.Unix(1e9, 0)
	if err := os.Chtimes(filepath.Join(dir, "app.tar"), then, then); err != nil {
		t.Fatal(err)
	}
	f.check(t, src, "v1")
}

// TestReadyAfterRestart: what was recorded is served by the next process at once, without a look at the tag.
func TestReadyAfterRestart(t *testing.T) {
	f := newFinished(t, gzipped)
	dir := writeArchive(t, gzipped(t, f.nixpkgs(t)))
	writeAll(t, filepath.Join(dir, "layout"), f.layout(t))
	cache := new(shelf)
	open := func() *manifest.Source {
		src, err := manifest.NewSource(manifest.Config{Stores: []store.Store{storetest.New()}, Images: []string{dir}, Cache: cache})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { src.Close() })
		return src
	}
	src := open()
	for _, name := range []string{"app", "layout"} {
		d := get(t, src, name, "v1")
		m, _ := pull(t, src, name, "v1")
		next := open()
		if err := known(next, name, d.Digest); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for _, b := range append(m.Layers, m.Config) {
			if err := intact(next, name, b.Digest); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		cache.lose("link/")
		cache.lose("manifest/")
		if err := known(open(), name, d.Digest); err != nil {
			t.Errorf("%s, with records lost: %v", name, err)
		}
	}
	if err := src.Close(); err != nil {
		t.Error(err)
	}
	if list, err := open().Referrers(ctx, "app", get(t, open(), "app", "v1").Digest); err != nil || len(list) > 0 {
		t.Errorf("referrers of an image of which nothing is known: %v, %v", list, err)
	}
}

// TestPackedBase: layers of a base image stay as they are, compressed or not, whatever becomes of the image's own.
func TestPackedBase(t *testing.T) {
	for name, pack := range packers {
		for outer, packArchive := range packers {
			f := newFinished(t, pack)
			m := storetest.New()
			p := m.Add("base.tar", storetest.Files{"": storetest.File(string(packArchive(t, f.dockerSave(t))))})
			dir := t.TempDir()
			write(t, filepath.Join(dir, "x.json"), confText(t, m, map[string]any{"from_image": p.Abs()}))
			src, err := manifest.NewSource(manifest.Config{
				Stores: []store.Store{m}, Images: []string{dir}, Cache: new(digests.Memory), Encoding: layer.Gzip,
			})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { src.Close() })
			doc, _ := pull(t, src, "x", "latest")
			if name != "plain" && doc.Layers[0].Digest.Hex != sha256Hex(f.layers[0]) {
				t.Errorf("%s in %s: layer is %s", name, outer, doc.Layers[0].Digest)
			}
			if mt := doc.Layers[3].MediaType; mt != types.OCILayer {
				t.Errorf("%s in %s: own layer is of type %s", name, outer, mt)
			}
		}
	}
}

// TestReadyMadeWordsAsText: what was made elsewhere keeps every byte, and whoever serves it is told that runtimes
// refuse it.
func TestReadyMadeWordsAsText(t *testing.T) {
	for _, key := range []string{"Cmd", "Entrypoint", "Shell"} {
		m, dir := storetest.New(), t.TempDir()
		f := newFinished(t, unpacked)
		f.config = strings.Replace(f.config, `"Cmd":["/app"]`, `"`+key+`":"/bin/ls"`, 1)
		write(t, filepath.Join(dir, "archive.tar"), string(f.nixpkgs(t)))
		write(t, filepath.Join(dir, "conf.json"), confText(t, m, map[string]any{"config": map[string]any{key: "/bin/ls"}}))
		writeAll(t, filepath.Join(dir, "layout"), f.layout(t))
		src, log := openLogged(t, m, dir)
		for _, name := range []string{"archive", "conf", "layout"} {
			log.Reset()
			_, config := pull(t, src, name, "latest")
			if name != "conf" && string(config) != f.config || !strings.Contains(string(config), `"/bin/ls"`) {
				t.Errorf("%s: config is %s", name, config)
			}
			if !strings.Contains(log.String(), "level=WARN") || !strings.Contains(log.String(), key) {
				t.Errorf("%s: %s as text: no warning is logged: %s", name, key, log)
			}
			if warnings := strings.Join(inspect(t, src, name, "latest").Warnings, "\n"); !strings.Contains(warnings, key) {
				t.Errorf("%s: %s as text: inspect warns of %q", name, key, warnings)
			}
			if faults := strings.Join(src.Catalog().Faults(ctx), "\n"); !strings.Contains(faults, name) || !strings.Contains(faults, key) {
				t.Errorf("%s: %s as text: healthz has %q", name, key, faults)
			}
		}
	}
}
