package export_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/nixreg/nixreg/manifest"
	"github.com/nixreg/nixreg/manifest/digests"
	"github.com/nixreg/nixreg/manifest/export"
	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/binarycache"
)

// repository is one of a source.
type repository struct {
	*manifest.Source
	name string
}

func (r repository) Manifest(ctx context.Context, d v1.Hash) (*v1.Descriptor, error) {
	return r.Source.Manifest(ctx, manifest.Request{Repository: r.name, Digest: d})
}

func (r repository) Blob(ctx context.Context, d v1.Hash) (export.Blob, error) {
	return r.Source.Blob(ctx, r.name, d)
}

func (r repository) top(t *testing.T) *v1.Descriptor {
	t.Helper()
	d, err := r.Source.Manifest(t.Context(), manifest.Request{
		Repository: r.name, Tag: "latest", Accept: func(offers ...types.MediaType) (types.MediaType, bool) { return offers[0], true },
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// vector is an image as nixpkgs' own program made it.
type vector struct {
	Name     string `json:"name"`
	ConfPath string `json:"conf_path"`
	Conf     struct {
		RepoTag string `json:"repo_tag"`
	} `json:"conf"`
	Size   int64  `json:"docker_archive_size"`
	SHA256 string `json:"docker_archive_sha256"`
}

// The archive of a conf.json is, to the byte, what nixpkgs' stream script writes. TestExportedArchivesAreNixpkgs in
// conformance has the vectors that need a real store.
func TestArchiveIsWhatTheStreamScriptWrites(t *testing.T) {
	s, err := binarycache.Open(binarycache.Options{
		FS: os.DirFS("../../store/binarycache/testdata/tiny-cache"), Trusted: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	files, err := filepath.Glob("../../conformance/golden/t[0-9]-*.json")
	if err != nil || len(files) < 5 {
		t.Fatalf("golden vectors: %v, %v", files, err)
	}
	dir := t.TempDir()
	var vectors []vector
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		var v vector
		if err := json.Unmarshal(b, &v); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(v.ConfPath, filepath.Join(dir, v.Name+".json")); err != nil {
			t.Fatal(err)
		}
		vectors = append(vectors, v)
	}
	src, err := manifest.NewSource(manifest.Config{Stores: []store.Store{s}, Images: []string{dir}, Cache: new(digests.Memory)})
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	for _, v := range vectors {
		t.Run(v.Name, func(t *testing.T) { checkArchive(t, repository{src, v.Name}, v) })
	}
}

func checkArchive(t *testing.T, r repository, v vector) {
	img, err := export.OpenAll(t.Context(), r, r.top(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, tag := range []string{"latest", ""} { // found by tag, and by digest
		notes, err := r.ArchiveNotes(t.Context(), r.name, tag, img.Config())
		if err != nil {
			t.Fatal(err)
		}
		if notes.RepoTag != v.Conf.RepoTag {
			t.Errorf("repo tag is %s, want %s", notes.RepoTag, v.Conf.RepoTag)
		}
		h, n := sha256.New(), new(counter)
		to := export.Notes{RepoTags: []string{notes.RepoTag}, MTime: notes.MTime, Layers: notes.Layers}
		if err := img.WriteArchive(t.Context(), io.MultiWriter(h, n), to, nil); err != nil {
			t.Fatal(err)
		}
		if got := hex.EncodeToString(h.Sum(nil)); got != v.SHA256 || int64(*n) != v.Size {
			t.Errorf("archive is %s in %d bytes, want %s in %d", got, *n, v.SHA256, v.Size)
		}
	}
}

type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}
