package export

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	ocilayout "github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/nixreg/nixreg/internal/oci"
)

// namesIn are the names in a layout's index, with the digests of their images.
func namesIn(t *testing.T, dir string) map[string]v1.Hash {
	t.Helper()
	path, err := ocilayout.FromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	index, err := path.ImageIndex()
	if err != nil {
		t.Fatal(err)
	}
	m, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	names := make(map[string]v1.Hash)
	for _, d := range m.Manifests {
		names[d.Annotations[oci.RefName]] = d.Digest
	}
	if len(names) != len(m.Manifests) {
		t.Errorf("index has names twice: %v", m.Manifests)
	}
	return names
}

// files are those below dir, as far as they are no blobs.
func files(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if rel, _ := filepath.Rel(dir, name); err == nil && !e.IsDir() && filepath.Dir(rel) != filepath.Join("blobs", "sha256") {
			out = append(out, rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func write(t *testing.T, img *Image, dir, name string) {
	t.Helper()
	if err := img.WriteLayout(t.Context(), dir, name, nil); err != nil {
		t.Fatal(err)
	}
}

func TestLayout(t *testing.T) {
	m, top := twoPlatforms(t)
	one := open(t, m, m.add(t, "amd64", plain("shared"), gzipped(t, "own")))
	all := open(t, m, top)
	dir := filepath.Join(t.TempDir(), "new")
	write(t, one, dir, "one")
	write(t, all, dir, "all")
	if got := namesIn(t, dir); len(got) != 2 || got["one"] != one.Digest() || got["all"] != top.Digest {
		t.Errorf("index has %v", got)
	}
	if got := files(t, dir); !slices.Equal(got, []string{"index.json", "oci-layout"}) {
		t.Errorf("beside blobs: %v", got)
	}
	want := len(m.blobs) + len(m.documents)
	blobs, err := os.ReadDir(filepath.Join(dir, "blobs", "sha256"))
	if err != nil || len(blobs) != want {
		t.Errorf("%d blobs, %v; want %d", len(blobs), err, want)
	}
	for _, e := range blobs {
		if b, err := os.ReadFile(filepath.Join(dir, "blobs", "sha256", e.Name())); err != nil || hexSHA256(b) != e.Name() {
			t.Errorf("blob %s: %v", e.Name(), err)
		}
	}
}

func TestLayoutReplacesAName(t *testing.T) {
	m := newMemory()
	first, second := open(t, m, m.add(t, "amd64", plain("a"))), open(t, m, m.add(t, "amd64", plain("a"), plain("b")))
	dir := t.TempDir()
	write(t, first, dir, "x")
	write(t, second, dir, "x")
	if got := namesIn(t, dir); len(got) != 1 || got["x"] != second.Digest() {
		t.Errorf("index has %v", got)
	}
	write(t, first, dir, "")
	write(t, first, dir, "")
	if got := namesIn(t, dir); len(got) != 2 || got[""] != first.Digest() {
		t.Errorf("index has %v", got)
	}
}

func TestLayoutKeepsBlobs(t *testing.T) {
	m := newMemory()
	img := open(t, m, m.add(t, "amd64", plain("a"), plain("a")))
	dir := t.TempDir()
	write(t, img, dir, "x")
	m.asked = nil
	var done, total int64
	if err := img.WriteLayout(t.Context(), dir, "y", func(d, of int64) { done, total = d, of }); err != nil {
		t.Fatal(err)
	}
	if len(m.asked) > 0 || done != total || done == 0 {
		t.Errorf("asked for %v, %d of %d", m.asked, done, total)
	}
	// One that was cut is written again.
	name := filepath.Join(dir, "blobs", "sha256", hexSHA256([]byte("a")))
	if err := os.Truncate(name, 0); err != nil {
		t.Fatal(err)
	}
	write(t, img, dir, "x")
	if b, err := os.ReadFile(name); err != nil || string(b) != "a" {
		t.Errorf("blob is %q, %v", b, err)
	}
}

func TestLayoutKeepsWhatIsInTheIndex(t *testing.T) {
	m := newMemory()
	img := open(t, m, m.add(t, "amd64", plain("a")))
	dir := t.TempDir()
	write(t, img, dir, "x")
	other := `{"mediaType":"x/y","digest":"sha256:` + strings.Repeat("0", 64) + `","size":1,"odd":[1]}`
	index := `{"schemaVersion":2,"manifests":[` + other + `],"annotations":{"a":"b"}}`
	if err := os.WriteFile(filepath.Join(dir, oci.IndexFile), []byte(index), 0o644); err != nil {
		t.Fatal(err)
	}
	write(t, img, dir, "x")
	b, err := os.ReadFile(filepath.Join(dir, oci.IndexFile))
	if err != nil || !strings.Contains(string(b), other) || !strings.Contains(string(b), `"annotations":{"a":"b"}`) {
		t.Errorf("index is %s, %v", b, err)
	}
}

func TestWhatIsNoLayout(t *testing.T) {
	m := newMemory()
	img := open(t, m, m.add(t, "amd64", plain("a")))
	for name, c := range map[string]struct {
		files map[string]string
		kind  error
	}{
		"other files":     {map[string]string{"x": ""}, fs.ErrInvalid},
		"another version": {map[string]string{oci.LayoutFile: `{"imageLayoutVersion":"2"}`}, errors.ErrUnsupported},
		"no JSON":         {map[string]string{oci.LayoutFile: "x"}, fs.ErrInvalid},
		"index no JSON":   {map[string]string{oci.LayoutFile: `{"imageLayoutVersion":"1.0.0"}`, oci.IndexFile: "x"}, fs.ErrInvalid},
		"index is a list": {map[string]string{oci.LayoutFile: `{"imageLayoutVersion":"1.0.0"}`, oci.IndexFile: "[]"}, fs.ErrInvalid},
		"index is null":   {map[string]string{oci.LayoutFile: `{"imageLayoutVersion":"1.0.0"}`, oci.IndexFile: "null"}, fs.ErrInvalid},
		"bad manifests":   {map[string]string{oci.LayoutFile: `{"imageLayoutVersion":"1.0.0"}`, oci.IndexFile: `{"manifests":[1]}`}, fs.ErrInvalid},
	} {
		dir := t.TempDir()
		for file, text := range c.files {
			if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if err := img.WriteLayout(t.Context(), dir, "x", nil); !errors.Is(err, c.kind) {
			t.Errorf("%s: %v", name, err)
		}
		if got := files(t, dir); len(got) != len(c.files) {
			t.Errorf("%s: left %v", name, got)
		}
		if _, err := os.Lstat(filepath.Join(dir, "blobs")); err == nil {
			t.Errorf("%s: blobs are left", name)
		}
	}
}

// An export that ends in an error, or by an interrupt, leaves nothing that was not there.
func TestLayoutIsUndone(t *testing.T) {
	m := newMemory()
	good := open(t, m, m.add(t, "amd64", plain("a")))
	bad := open(t, m, m.add(t, "amd64", plain("a"), plain("b"), plain("c")))
	m.blobs[hashOf([]byte("c"))] = oci.Bytes("d")
	dir := filepath.Join(t.TempDir(), "new")
	if err := bad.WriteLayout(t.Context(), dir, "x", nil); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("wrong bytes: %v", err)
	}
	if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("directory: %v", err)
	}
	write(t, good, dir, "x")
	before, _ := os.ReadDir(filepath.Join(dir, "blobs", "sha256"))
	ctx, cancel := context.WithCancel(t.Context())
	err := bad.WriteLayout(ctx, dir, "y", func(int64, int64) { cancel() })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
	after, _ := os.ReadDir(filepath.Join(dir, "blobs", "sha256"))
	if got := namesIn(t, dir); len(got) != 1 || len(before) != len(after) {
		t.Errorf("index has %v, blobs were %v and are %v", got, before, after)
	}
}

func FuzzAddToIndex(f *testing.F) {
	f.Add([]byte(`{"schemaVersion":2,"manifests":[]}`), "x")
	f.Add([]byte(`{"manifests":[{"digest":"sha256:`+strings.Repeat("0", 64)+`","annotations":{"`+oci.RefName+`":"x"}}]}`), "x")
	f.Add([]byte(`null`), "")
	d := v1.Descriptor{MediaType: types.OCIManifestSchema1, Digest: hashOf([]byte("a")), Size: 1}
	f.Fuzz(func(t *testing.T, index []byte, name string) {
		if name != "" && !oci.IsRefName(name) {
			return
		}
		got, err := addToIndex(index, d, name)
		if err != nil {
			if !errors.Is(err, fs.ErrInvalid) {
				t.Errorf("error is %v", err)
			}
			return
		}
		var doc struct{ Manifests []v1.Descriptor }
		if err := json.Unmarshal(got, &doc); err != nil || len(doc.Manifests) == 0 || doc.Manifests[len(doc.Manifests)-1].Digest != d.Digest {
			t.Errorf("index %q, %v", got, err)
		}
		again, err := addToIndex(got, d, name)
		if err != nil || string(again) != string(got) {
			t.Errorf("second time %q, %v; first %q", again, err, got)
		}
	})
}

// TestIndexWithoutAnImage: what an index names and nobody has is left out of a layout; a registry is not asked to take it.
func TestIndexWithoutAnImage(t *testing.T) {
	m, top := twoPlatforms(t)
	all := open(t, m, top)
	gone := all.documents[1].desc.Digest
	delete(m.documents, gone)
	part := open(t, m, top)
	if got := part.Missing(); len(got) != 1 || got[0] != gone || len(all.Missing()) != 0 {
		t.Errorf("missing are %v", got)
	}
	dir := filepath.Join(t.TempDir(), "new")
	write(t, part, dir, "all")
	if got := namesIn(t, dir); got["all"] != top.Digest {
		t.Errorf("index has %v", got)
	}
	if err := part.Push(t.Context(), Target{Name: "localhost:1/app:v1"}, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("push: %v", err)
	}
	delete(m.documents, all.documents[0].desc.Digest)
	if _, err := OpenAll(t.Context(), m, top); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an index of nothing: %v", err)
	}
}
