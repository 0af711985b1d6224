package manifest_test

import (
	"errors"
	"io/fs"
	"path/filepath"
	"testing"

	"github.com/nixreg/nixreg/store/storetest"
)

// told fails for an error that is not about the image.
func told(t *testing.T, err error) {
	t.Helper()
	if err != nil && !errors.Is(err, fs.ErrInvalid) && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errors.ErrUnsupported) {
		t.Fatal(err)
	}
}

// ask does with an image file all that clients do with a tag.
func ask(t *testing.T, files storetest.Files) {
	t.Helper()
	m := storetest.New()
	dir := t.TempDir()
	link(t, m.Add("image", files).Abs(), filepath.Join(dir, "app"))
	src := newSource(t, dir, m)
	tags, err := src.Tags(ctx, "app")
	told(t, err)
	for _, tag := range append(tags, "latest", "v1") {
		_, err := src.Inspect(ctx, "app", tag)
		told(t, err)
	}
}

// FuzzArchiveDocuments: whatever an archive's documents say, the image is served or it is refused.
func FuzzArchiveDocuments(f *testing.F) {
	f.Add([]byte(`[{"Config":"c","RepoTags":["a:v1"],"Layers":["l"]}]`), []byte(`{"rootfs":{"diff_ids":["sha256:`+sha256Hex([]byte("layer"))+`"]}}`))
	f.Add([]byte(`[{"Config":"manifest.json","Layers":null}]`), []byte(`[]`))
	f.Fuzz(func(t *testing.T, list, config []byte) {
		var a archive
		a.file(t, "l", "layer")
		a.file(t, "c", string(config))
		a.file(t, "manifest.json", string(list))
		ask(t, storetest.Files{"": storetest.File(string(a.bytes(t)))})
	})
}

// FuzzLayoutDocuments does the same with those of a layout, whose digests are right.
func FuzzLayoutDocuments(f *testing.F) {
	f.Add([]byte(`{"config":{"mediaType":"x","digest":"sha256:`+sha256Hex([]byte("layer"))+`","size":5}}`), ociManifest, []byte(nil))
	f.Add([]byte(`{"manifests":[{"digest":"sha256:`+sha256Hex([]byte("{}"))+`","size":2}]}`), ociIndex, []byte(nil))
	f.Add([]byte(nil), "", []byte(`{"manifests":[{"digest":"sha256:../x","annotations":{"org.opencontainers.image.ref.name":"v1"}}]}`))
	f.Fuzz(func(t *testing.T, doc []byte, mediaType string, index []byte) {
		if index == nil {
			index = []byte(encode(t, map[string]any{"manifests": []any{described(mediaType, string(doc))}}))
		}
		ask(t, storetest.Files{
			"oci-layout": storetest.File("{}"), "index.json": storetest.File(string(index)),
			blobName(string(doc)): storetest.File(string(doc)), blobName("layer"): storetest.File("layer"), blobName("{}"): storetest.File("{}"),
		})
	})
}
