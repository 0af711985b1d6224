package manifest_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/nixreg/nixreg/manifest"
	"github.com/nixreg/nixreg/manifest/layer"
	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/storetest"
)

// layoutOf is an OCI layout of an image that is served, as an export leaves it, with an artifact of the empty config.
func layoutOf(t *testing.T, src *manifest.Source, repository string) map[string]string {
	t.Helper()
	d := get(t, src, repository, "latest")
	m, config := pull(t, src, repository, "latest")
	const empty = "{}"
	artifact := encode(t, map[string]any{
		"schemaVersion": 2, "mediaType": ociManifest, "config": described("application/vnd.oci.empty.v1+json", empty), "layers": []any{},
	})
	files := map[string]string{
		"oci-layout": `{"imageLayoutVersion": "1.0.0"}`, blobName(string(d.Data)): string(d.Data), blobName(string(config)): string(config),
		blobName(artifact): artifact, blobName(empty): empty,
		"index.json": `{"manifests":[` + layoutEntry(string(d.Data), "v1") + "," + layoutEntry(artifact, "artifact") + `]}`,
	}
	for _, l := range m.Layers {
		var b bytes.Buffer
		digest(t, src, repository, l.Digest, &b)
		files[blobName(b.String())] = b.String()
	}
	return files
}

// TestLayoutOfAServedImage: an image, its bill of materials, and what holds it do not depend on a layout that has the same
// documents and was served, too: it may go.
func TestLayoutOfAServedImage(t *testing.T) {
	m, _, _ := withHello()
	dir, cache := t.TempDir(), new(shelf)
	open := func() *manifest.Source {
		src, err := manifest.NewSource(manifest.Config{Stores: []store.Store{m}, Images: []string{dir}, Cache: cache})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { src.Close() })
		return src
	}
	src := open()
	before := get(t, src, "hello", "latest")
	billOf(t, src, "hello", before.Digest)
	writeAll(t, filepath.Join(dir, "copy"), layoutOf(t, src, "hello"))
	src.Catalog().Reload(ctx)
	for _, tag := range []string{"v1", "artifact"} {
		doc, _ := pull(t, src, "copy", tag)
		if err := intact(src, "copy", doc.Config.Digest); err != nil {
			t.Error(err)
		}
	}
	if list, err := src.Referrers(ctx, "copy", before.Digest); err != nil || len(list) > 0 { // they would be lost with the records
		t.Errorf("referrers in the layout: %v, %v", list, err)
	}
	if err := os.RemoveAll(filepath.Join(dir, "copy")); err != nil {
		t.Fatal(err)
	}
	for _, src := range []*manifest.Source{src, open()} {
		pull(t, src, "hello", "latest")
		if d := get(t, src, "hello", "latest"); d.Digest != before.Digest {
			t.Errorf("hello is %s, was %s", d.Digest, before.Digest)
		}
		billOf(t, src, "hello", before.Digest)
	}
}

// TestLayoutInThePlaceOfAnImage: while a layout has the name of a package, it is that; when it has gone, the package has all that
// it had, for those too who ask by digest alone.
func TestLayoutInThePlaceOfAnImage(t *testing.T) {
	m, _, _ := withHello()
	dir, cache := t.TempDir(), new(shelf)
	src, err := manifest.NewSource(manifest.Config{Stores: []store.Store{m}, Images: []string{dir}, Cache: cache})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { src.Close() })
	before := get(t, src, "hello", "latest")
	doc, _ := pull(t, src, "hello", "latest")
	billOf(t, src, "hello", before.Digest)
	writeAll(t, filepath.Join(dir, "hello"), layoutOf(t, src, "hello"))
	src.Catalog().Reload(ctx)
	pull(t, src, "hello", "v1")
	pull(t, src, "hello", "artifact")
	if err := os.RemoveAll(filepath.Join(dir, "hello")); err != nil {
		t.Fatal(err)
	}
	src.Catalog().Reload(ctx)
	if err := known(src, "hello", before.Digest); err != nil {
		t.Error(err)
	}
	for _, d := range append(doc.Layers, doc.Config) {
		if err := intact(src, "hello", d.Digest); err != nil {
			t.Error(err)
		}
		if n, err := src.BlobSize(ctx, "hello", d.Digest); err != nil || n != d.Size {
			t.Errorf("%s has %d bytes, not %d: %v", d.Digest, n, d.Size, err)
		}
	}
	cache.lose("blob/sha256:" + sha256Hex([]byte("{}"))) // the config of the bill, which the layout has too
	pull(t, src, "hello", "latest")
	billOf(t, src, "hello", before.Digest)
}

// TestRecordsTakenOver: records in which a layout had taken over the config and the manifest of an image, as it once did,
// are mended when the image is asked for.
func TestRecordsTakenOver(t *testing.T) {
	m, _, _ := withHello()
	cache := new(shelf)
	first := withCache(t, cache, m)
	d := get(t, first, "hello", "latest")
	r := inspect(t, first, "hello", "latest")
	gone := encode(t, map[string]any{"recipe": layer.Recipe{
		Format: layer.Verbatim, Objects: []layer.Ref{{Path: "00000000000000000000000000000000-gone"}}, File: blobName("x"),
	}})
	for key, record := range map[string]string{
		"blob/" + r.Config.String():     gone,
		"manifest/" + d.Digest.String(): encode(t, map[string]any{"mediaType": d.MediaType, "data": d.Data}),
	} {
		if err := cache.Put(ctx, key, []byte(record)); err != nil {
			t.Fatal(err)
		}
	}
	src := withCache(t, cache, m)
	pull(t, src, "hello", "latest")
	billOf(t, src, "hello", d.Digest)
}

// TestReadyTakesTurns: an archive and a layout with the same config, one in the place of the other and back again; without
// layers nothing else tells one from the other.
func TestReadyTakesTurns(t *testing.T) {
	f := newFinished(t, unpacked)
	f.layers, f.diffIDs = nil, []string{}
	f.describe(t, "amd64")
	dir := t.TempDir()
	src := newSource(t, dir, storetest.New())
	archive, layout := filepath.Join(dir, "app.tar"), filepath.Join(dir, "app")
	for turn := range 4 {
		if turn%2 == 0 {
			write(t, archive, string(f.nixpkgs(t)))
		} else {
			writeAll(t, layout, f.layout(t))
		}
		src.Catalog().Reload(ctx)
		m, config := pull(t, src, "app", "v1")
		if string(config) != f.config {
			t.Errorf("turn %d: config is %s", turn, config)
		}
		for _, b := range append(m.Layers, m.Config) {
			if err := intact(src, "app", b.Digest); err != nil {
				t.Errorf("turn %d: %v", turn, err)
			}
		}
		if err := os.RemoveAll([]string{archive, layout}[turn%2]); err != nil {
			t.Fatal(err)
		}
	}
}

// TestLayerLikeAConfig: an archive whose layer has the bytes of another image's config does not take them from it.
func TestLayerLikeAConfig(t *testing.T) {
	m, _, _ := withHello()
	dir := t.TempDir()
	src := newSource(t, dir, m)
	_, config := pull(t, src, "hello", "latest")
	f := newFinished(t, unpacked)
	f.layers, f.diffIDs = [][]byte{config}, []string{"sha256:" + sha256Hex(config)}
	f.describe(t, "amd64")
	file := filepath.Join(dir, "app.tar")
	write(t, file, string(f.nixpkgs(t)))
	src.Catalog().Reload(ctx)
	pull(t, src, "app", "v1")
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	pull(t, src, "hello", "latest")
}
