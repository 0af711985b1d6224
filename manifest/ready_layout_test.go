package manifest_test

import (
	"errors"
	"io/fs"
	"maps"
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

// all reads every blob of a layout and the documents in it, by digest.
func all(t *testing.T, src *manifest.Source, repository string, files map[string]string) {
	t.Helper()
	for name, data := range files {
		hex, ok := strings.CutPrefix(name, "blobs/sha256/")
		if !ok {
			continue
		}
		d := nowhere("0")
		d.Hex = hex
		if strings.Contains(data, `"schemaVersion"`) {
			if err := known(src, repository, d); err != nil {
				t.Error(err)
			}
		} else if err := intact(src, repository, d); err != nil {
			t.Error(err)
		}
	}
}

// TestLayout: the documents of a layout are served byte for byte, whatever types they name.
func TestLayout(t *testing.T) {
	f := newFinished(t, zstandard)
	files := f.layout(t)
	m := storetest.New()
	in := storetest.Files{}
	for name, data := range files {
		in[name] = storetest.File(data)
	}
	p := m.Add("layout", in)
	dir := t.TempDir()
	writeAll(t, filepath.Join(dir, "team/app"), files)
	link(t, p.Abs(), filepath.Join(dir, "linked"))
	link(t, filepath.Join(dir, "team/app"), filepath.Join(dir, "twice"))
	src := newSource(t, dir, m)
	for _, name := range []string{"team/app", "linked", "twice"} {
		for _, tag := range []string{"v1", "latest"} {
			if d := get(t, src, name, tag); string(d.Data) != f.manifest(t) || d.MediaType != types.OCIManifestSchema1 {
				t.Errorf("%s:%s is %s %s", name, tag, d.MediaType, d.Data)
			}
		}
		all(t, src, name, files)
		if tags, err := src.Tags(ctx, name); err != nil || !slices.Equal(tags, []string{"latest", "v1"}) {
			t.Errorf("tags are %q, %v", tags, err)
		}
		if r := inspect(t, src, name, "v1"); r.Architecture != "amd64" || len(r.Layers) != 3 || r.Layers[0].MediaType != "application/vnd.example.layer" || r.Command[0] != "/app" {
			t.Errorf("report is %+v", r)
		}
	}
	if _, err := src.Manifest(ctx, manifest.Request{Repository: "linked", Tag: "v1", Accept: only(types.DockerManifestSchema2)}); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("for Docker alone: %v", err)
	}
	want := []string{"linked", "team/app", "twice"}
	if names, err := src.Repositories(ctx); err != nil || !slices.Equal(names, want) {
		t.Errorf("repositories are %q, %v", names, err)
	}
	if alone := withImages(t, m, filepath.Join(dir, "team/app")); string(get(t, alone, "app", "v1").Data) != f.manifest(t) {
		t.Error("a layout that is itself the argument of --images is another image")
	}
}

// TestLayoutOfPlatforms: an index is served as it is, and who knows none gets the manifest for the usual platform.
func TestLayoutOfPlatforms(t *testing.T) {
	amd64, arm64 := newFinished(t, gzipped), newFinished(t, gzipped)
	arm64.describe(t, "arm64")
	files, index := several(t, amd64, arm64)
	dir := t.TempDir()
	writeAll(t, filepath.Join(dir, "app"), files)
	src := newSource(t, dir, storetest.New())
	if d := get(t, src, "app", "v2"); string(d.Data) != index || d.MediaType != types.OCIImageIndex {
		t.Errorf("%s %s", d.MediaType, d.Data)
	}
	all(t, src, "app", files)
	d, err := src.Manifest(ctx, manifest.Request{Repository: "app", Tag: "latest", Accept: only(types.OCIManifestSchema1)})
	if err != nil || string(d.Data) != amd64.manifest(t) {
		t.Errorf("without indexes: %v, %v", d, err)
	}
	r, err := src.Inspect(ctx, "app", "v2")
	if err != nil || len(r) != 2 || r[0].Architecture == r[1].Architecture {
		t.Errorf("reports are %v, %v", r, err)
	}
	delete(files, blobName(arm64.manifest(t)))
	writeAll(t, filepath.Join(dir, "partial"), files)
	src.Catalog().Reload(ctx)
	if d := get(t, src, "partial", "v2"); string(d.Data) != index {
		t.Errorf("with one platform missing: %s", d.Data)
	}
}

// TestLayoutWithoutNames: manifests for several platforms that have no name are one image.
func TestLayoutWithoutNames(t *testing.T) {
	amd64, arm64 := newFinished(t, gzipped), newFinished(t, gzipped)
	arm64.layers[1], arm64.diffIDs[1] = gzipped(t, layerTar(t, "etc/two", "arm")), "sha256:"+sha256Hex(layerTar(t, "etc/two", "arm"))
	arm64.describe(t, "arm64")
	files, index := several(t, amd64, arm64)
	files["index.json"] = index
	dir := t.TempDir()
	writeAll(t, filepath.Join(dir, "app"), files)
	src := newSource(t, dir, storetest.New())
	if d := get(t, src, "app", "latest"); string(d.Data) != index || d.MediaType != types.OCIImageIndex {
		t.Errorf("%s %s", d.MediaType, d.Data)
	}
	delete(files, blobName(index))
	all(t, src, "app", files)

	write(t, filepath.Join(dir, "x.yaml"), "name: x\nfromImage: app\narchitecture: arm64\n")
	if m, _ := pull(t, newSource(t, dir, storetest.New()), "x", "latest"); len(m.Layers) < 3 || m.Layers[1].Digest.Hex != sha256Hex(arm64.layers[1]) {
		t.Errorf("an image built upon it has the layers %v", m.Layers)
	}
}

// TestDamagedLayouts: nothing of a layout is served before all of it was compared with its digests.
func TestDamagedLayouts(t *testing.T) {
	f := newFinished(t, unpacked)
	good := f.layout(t)
	amd64, arm64 := newFinished(t, gzipped), newFinished(t, gzipped)
	arm64.describe(t, "arm64")
	platforms, index := several(t, amd64, arm64)
	with := func(files map[string]string, name, data string) map[string]string {
		files = maps.Clone(files)
		files[name] = data
		return files
	}
	lists := func(entry string) string { return `{"manifests":[` + entry + `]}` }
	entry := func(digest string) string {
		return lists(`{"mediaType":"` + ociManifest + `","digest":"` + digest + `","size":1}`)
	}
	otherSize := strings.Replace(index, `"size":`, `"size":1`, 1)
	untyped := strings.Replace(f.manifest(t), `"mediaType":"`+ociManifest+`",`, "", 1)
	for name, c := range map[string]struct {
		files map[string]string
		kind  error
	}{
		"manifest":        {with(good, blobName(f.manifest(t)), "{}"), fs.ErrInvalid},
		"config":          {with(good, blobName(f.config), "{}"), fs.ErrInvalid},
		"layer":           {with(good, blobName(string(f.layers[1])), "x"), fs.ErrInvalid},
		"index":           {with(platforms, blobName(index), "{}"), fs.ErrInvalid},
		"child":           {with(platforms, blobName(arm64.manifest(t)), "{}"), fs.ErrInvalid},
		"no images":       {with(good, "index.json", `{"manifests":[]}`), fs.ErrInvalid},
		"no JSON":         {with(good, "index.json", "["), fs.ErrInvalid},
		"absent manifest": {with(good, "index.json", entry("sha256:"+strings.Repeat("1", 64))), fs.ErrNotExist},
		"size of a child": {with(with(platforms, "index.json", lists(strings.Replace(layoutEntry(otherSize, "v1"), ociManifest, ociIndex, 1))), blobName(otherSize), otherSize), fs.ErrInvalid},
		"size in index":   {with(good, "index.json", entry("sha256:"+sha256Hex([]byte(f.manifest(t))))), fs.ErrInvalid},
		"no media type":   {with(with(good, "index.json", lists(strings.Replace(layoutEntry(untyped, "v1"), ociManifest, "", 1))), blobName(untyped), untyped), fs.ErrInvalid},
		"path as digest":  {with(good, "index.json", entry("sha256:../../../../../../etc/passwd")), fs.ErrInvalid},
		"other algorithm": {with(good, "index.json", entry("sha512:"+strings.Repeat("1", 128))), errors.ErrUnsupported},
	} {
		dir := t.TempDir()
		writeAll(t, filepath.Join(dir, "app"), c.files)
		src := newSource(t, dir, storetest.New())
		if _, err := src.Manifest(ctx, manifest.Request{Repository: "app", Tag: "latest", Accept: first}); !errors.Is(err, c.kind) || strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %v", name, err)
		}
	}
	dir := t.TempDir()
	writeAll(t, filepath.Join(dir, "app"), good)
	secret := filepath.Join(dir, "secret")
	write(t, secret, string(f.layers[1]))
	blob := filepath.Join(dir, "app", blobName(string(f.layers[1])))
	if err := os.Remove(blob); err != nil {
		t.Fatal(err)
	}
	link(t, secret, blob)
	if _, err := newSource(t, dir, storetest.New()).Inspect(ctx, "app", "latest"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a link out of the layout: %v", err)
	}
}

// TestChangedLayout: a blob that is changed under an index that stays is not served.
func TestChangedLayout(t *testing.T) {
	f := newFinished(t, unpacked)
	dir := t.TempDir()
	writeAll(t, filepath.Join(dir, "app"), f.layout(t))
	src := newSource(t, dir, storetest.New())
	m, _ := pull(t, src, "app", "v1")
	blob := filepath.Join(dir, "app", blobName(string(f.layers[1])))
	write(t, blob+".new", strings.Repeat("x", len(f.layers[1])))
	if err := os.Rename(blob+".new", blob); err != nil {
		t.Fatal(err)
	}
	if err := intact(src, "app", m.Layers[1].Digest); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a changed blob: %v", err)
	}
	if _, err := src.Manifest(ctx, manifest.Request{Repository: "app", Tag: "v1", Accept: first}); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("its manifest: %v", err)
	}
}

// TestLayoutAsBase: a definition can build upon a layout.
func TestLayoutAsBase(t *testing.T) {
	f := newFinished(t, gzipped)
	dir := t.TempDir()
	base := filepath.Join(t.TempDir(), "base")
	writeAll(t, base, f.layout(t))
	write(t, filepath.Join(dir, "x.yaml"), "name: x\nfromImage: "+base+"\n")
	m, _ := pull(t, newSource(t, dir, storetest.New()), "x", "latest")
	if len(m.Layers) < 3 || m.Layers[1].Digest.Hex != sha256Hex(f.layers[1]) || m.Layers[1].MediaType != types.OCILayer {
		t.Errorf("layers are %v", m.Layers)
	}
}

// TestCheckOfReadyImages: check reads all there is to read, and says of every file what is wrong.
func TestCheckOfReadyImages(t *testing.T) {
	f := newFinished(t, gzipped)
	dir := t.TempDir()
	write(t, filepath.Join(dir, "archive.tar.zst"), string(zstandard(t, f.skopeo(t))))
	writeAll(t, filepath.Join(dir, "layout"), f.layout(t))
	cfg := manifest.Config{Stores: []store.Store{storetest.New()}, Cache: new(digests.Memory)}
	for _, name := range []string{dir, filepath.Join(dir, "layout"), filepath.Join(dir, "archive.tar.zst")} {
		if err := manifest.Check(ctx, cfg, name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	write(t, filepath.Join(dir, "broken.tar"), string(f.nixpkgs(t)[:2000]))
	if err := os.Remove(filepath.Join(dir, "layout", blobName(f.manifest(t)))); err != nil {
		t.Fatal(err)
	}
	for name, blob := range map[string]string{"absent": "", "short": "x"} {
		files := f.layout(t)
		delete(files, blobName(string(f.layers[1])))
		if blob != "" {
			files[blobName(string(f.layers[1]))] = blob
		}
		writeAll(t, filepath.Join(dir, name), files)
	}
	err := manifest.Check(ctx, cfg, dir)
	for _, name := range []string{"broken.tar", "layout", "absent", "short"} {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s is not in %v", name, err)
		}
	}
	if err != nil && strings.Contains(err.Error(), "archive.tar.zst") {
		t.Error(err)
	}
}
