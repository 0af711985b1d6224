package manifest_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// finished is an image that was made elsewhere; a test may spoil its parts before it writes it down in one of the ways
// in which others write images.
type finished struct {
	tags    []string
	config  string
	diffIDs []string
	layers  [][]byte // as they lie in the archive
}

// newFinished is an image with three layers, of which the first and the last are the same.
func newFinished(t *testing.T, pack func(*testing.T, []byte) []byte) *finished {
	t.Helper()
	one, two := layerTar(t, "etc/one", strings.Repeat("one ", 5000)), layerTar(t, "etc/two", "two")
	f := &finished{tags: []string{"registry.example.com:5000/team/app:v1"}}
	for _, l := range [][]byte{one, two, one} {
		f.diffIDs = append(f.diffIDs, "sha256:"+sha256Hex(l))
		f.layers = append(f.layers, pack(t, l))
	}
	f.describe(t, "amd64")
	return f
}

// describe writes the config; white space and unknown keys are as nixreg itself would never write them.
func (f *finished) describe(t *testing.T, arch string) {
	f.config = `{ "unknown":1,  "architecture":"` + arch + `","os":"linux","config":{"Cmd":["/app"],"Env":["A=1"]},` +
		`"rootfs":{"type":"layers","diff_ids":` + encode(t, f.diffIDs) + "}}\n"
}

func layerTar(t *testing.T, name, data string) []byte {
	t.Helper()
	var a archive
	a.file(t, name, data)
	return a.bytes(t)
}

// archive is a tar that is being written.
type archive struct {
	b bytes.Buffer
	w *tar.Writer
}

func (a *archive) add(t *testing.T, h tar.Header, data string) {
	t.Helper()
	if a.w == nil {
		a.w = tar.NewWriter(&a.b)
	}
	h.Size, h.Mode = int64(len(data)), 0o644
	if err := a.w.WriteHeader(&h); err != nil {
		t.Fatal(err)
	}
	if _, err := a.w.Write([]byte(data)); err != nil {
		t.Fatal(err)
	}
}

func (a *archive) file(t *testing.T, name, data string) { a.add(t, tar.Header{Name: name}, data) }

func (a *archive) link(t *testing.T, name, target string) {
	a.add(t, tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: target}, "")
}

func (a *archive) bytes(t *testing.T) []byte {
	t.Helper()
	if err := a.w.Close(); err != nil {
		t.Fatal(err)
	}
	return a.b.Bytes()
}

// manifestOf is the manifest.json of images whose members are called so.
func manifestOf(t *testing.T, config string, tags, layers []string) string {
	return encode(t, []any{map[string]any{"Config": config, "RepoTags": tags, "Layers": layers}})
}

// nixpkgs writes an archive as buildImage does: a directory for each layer.
func (f *finished) nixpkgs(t *testing.T) []byte {
	var a archive
	names := make([]string, len(f.layers))
	for i, l := range f.layers {
		names[i] = strings.Repeat(string(rune('a'+i)), 64) + "/layer.tar"
		a.file(t, names[i], string(l))
		a.file(t, filepath.Dir(names[i])+"/VERSION", "1.0")
	}
	a.file(t, "0123.json", f.config)
	a.file(t, "manifest.json", manifestOf(t, "0123.json", f.tags, names))
	a.file(t, "repositories", "{}")
	return a.bytes(t)
}

// dockerSave writes one as docker save did up to 24: a layer that was there before is a link.
func (f *finished) dockerSave(t *testing.T) []byte {
	var a archive
	a.file(t, "config.json", f.config)
	names := make([]string, len(f.layers))
	for i, l := range f.layers {
		names[i] = strings.Repeat(string(rune('a'+i)), 64) + "/layer.tar"
		if i == 2 {
			a.link(t, names[i], "../"+names[0])
			continue
		}
		a.file(t, names[i], string(l))
	}
	a.file(t, "./manifest.json", manifestOf(t, "config.json", f.tags, names))
	return a.bytes(t)
}

// skopeo writes one as skopeo does: layers by diffID, once each, and links to them that manifest.json does not name.
func (f *finished) skopeo(t *testing.T) []byte {
	var a archive
	names := make([]string, len(f.layers))
	for i, l := range f.layers {
		names[i] = strings.TrimPrefix(f.diffIDs[i], "sha256:") + ".tar"
		if i < 2 {
			a.file(t, names[i], string(l))
		}
		a.link(t, strings.Repeat(string(rune('a'+i)), 64)+"/layer.tar", "../"+names[i])
	}
	config := sha256Hex([]byte(f.config)) + ".json"
	a.file(t, config, f.config)
	a.file(t, "manifest.json", manifestOf(t, config, f.tags, names))
	return a.bytes(t)
}

// newDocker writes one as docker save does from 25 on: an OCI layout with a manifest.json.
func (f *finished) newDocker(t *testing.T) []byte {
	var a archive
	files := f.layout(t)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		a.file(t, name, files[name])
	}
	var names []string
	for _, l := range f.layers {
		names = append(names, blobName(string(l)))
	}
	a.file(t, "manifest.json", manifestOf(t, blobName(f.config), f.tags, names))
	return a.bytes(t)
}

const (
	ociManifest = "application/vnd.oci.image.manifest.v1+json"
	ociIndex    = "application/vnd.oci.image.index.v1+json"
)

func blobName(data string) string { return "blobs/sha256/" + sha256Hex([]byte(data)) }

// manifest is the image's own manifest, with spaces and a key that nixreg itself would not write.
func (f *finished) manifest(t *testing.T) string {
	var layers []any
	for _, l := range f.layers {
		layers = append(layers, described("application/vnd.example.layer", string(l)))
	}
	return " " + encode(t, map[string]any{
		"schemaVersion": 2, "mediaType": ociManifest, "config": described("application/vnd.oci.image.config.v1+json", f.config), "layers": layers,
		"unknown": true,
	})
}

func described(mediaType, data string) map[string]any {
	return map[string]any{"mediaType": mediaType, "digest": "sha256:" + sha256Hex([]byte(data)), "size": len(data)}
}

// layout is the files of an OCI layout of the image.
func (f *finished) layout(t *testing.T) map[string]string {
	m := f.manifest(t)
	entry := described(ociManifest, m)
	entry["annotations"] = map[string]string{"org.opencontainers.image.ref.name": "v1"}
	files := map[string]string{
		"oci-layout": `{"imageLayoutVersion": "1.0.0"}`,
		"index.json": encode(t, map[string]any{"schemaVersion": 2, "manifests": []any{entry}}),
		blobName(m):  m, blobName(f.config): f.config,
	}
	for _, l := range f.layers {
		files[blobName(string(l))] = string(l)
	}
	return files
}

// several is an OCI layout of two images for different platforms, behind one index.
func several(t *testing.T, amd64, arm64 *finished) (files map[string]string, index string) {
	files = amd64.layout(t)
	maps.Copy(files, arm64.layout(t))
	var children []any
	for arch, f := range map[string]*finished{"amd64": amd64, "arm64": arm64} {
		d := described(ociManifest, f.manifest(t))
		d["platform"] = map[string]string{"os": "linux", "architecture": arch}
		children = append(children, d)
	}
	index = encode(t, map[string]any{"schemaVersion": 2, "mediaType": ociIndex, "manifests": children})
	entry := described(ociIndex, index)
	entry["annotations"] = map[string]string{"org.opencontainers.image.ref.name": "registry.example.com/app:v2"}
	files[blobName(index)] = index
	files["index.json"] = encode(t, map[string]any{"manifests": []any{entry}})
	return files, index
}

func writeAll(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, data := range files {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, name), data)
	}
}

func unpacked(_ *testing.T, b []byte) []byte { return b }

func gzipped(t *testing.T, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	zw := gzip.NewWriter(&out)
	if _, err := zw.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func zstandard(t *testing.T, b []byte) []byte {
	t.Helper()
	zw, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer zw.Close()
	return zw.EncodeAll(b, nil)
}
