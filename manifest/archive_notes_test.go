package manifest_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/nixreg/nixreg/manifest"
	"github.com/nixreg/nixreg/manifest/layer"
)

func notesOf(t *testing.T, src *manifest.Source, repository, tag string, config v1.Hash) *manifest.ArchiveNotes {
	t.Helper()
	notes, err := src.ArchiveNotes(ctx, repository, tag, config)
	if err != nil {
		t.Fatal(err)
	}
	return notes
}

func stored(mtime int64) layer.Header { return layer.Header{Mode: 0o644, MTime: mtime} }
func linked(mtime int64) layer.Header {
	return layer.Header{Mode: 0o444, MTime: mtime, Uname: "root", Gname: "root"}
}

// TestArchiveNotes: members have the times of the image's files; those of a base image are called as there.
func TestArchiveNotes(t *testing.T) {
	m, _, _ := withHello()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "base.tar"), newBase().archive(t))
	write(t, filepath.Join(dir, "linked.tar"), string(newFinished(t, unpacked).dockerSave(t)))
	write(t, filepath.Join(dir, "conf.json"), confText(t, m, map[string]any{"mtime": "1970-01-01T00:01:00+00:00"}))
	write(t, filepath.Join(dir, "web.yaml"), `
- { name: own, tag: v2, contents: hello, mtime: 1970-01-01T00:00:09Z }
- { name: based, contents: hello, fromImage: base.tar }
- { name: behind, fromImage: linked.tar }
`)
	if err := os.Mkdir(filepath.Join(dir, "ready"), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "ready", "app.tar"), string(newFinished(t, unpacked).nixpkgs(t)))
	src := withImages(t, m, dir)
	of := func(c string) layer.Header { return layer.Header{Name: c + "/layer.tar", Mode: 0o644} }
	base := []layer.Header{of("a"), of("b")}
	a64 := func(c string) layer.Header { return of(strings.Repeat(c, 64)) }
	behindLink := []layer.Header{a64("a"), a64("b"), a64("c")}
	behindLink[2].MTime = 1 // a link says nothing of the file it leads to
	for name, want := range map[string]*manifest.ArchiveNotes{
		"hello":     {MTime: 1, Layers: []layer.Header{stored(1), stored(1), linked(1)}},
		"own":       {MTime: 9, Layers: []layer.Header{stored(9), stored(9), linked(9)}},
		"conf":      {RepoTag: "x:v1", MTime: 60, Layers: []layer.Header{linked(60)}},
		"based":     {MTime: 1, Layers: append(base, stored(1), stored(1), linked(1))},
		"behind":    {MTime: 1, Layers: append(behindLink, linked(1))},
		"ready/app": {MTime: 1},
	} {
		doc, _ := pull(t, src, name, "latest")
		for _, tag := range []string{"latest", ""} {
			got := notesOf(t, src, name, tag, doc.Config.Digest)
			if got.RepoTag != want.RepoTag || got.MTime != want.MTime || !slices.Equal(got.Layers, want.Layers) {
				t.Errorf("%s by tag %q: notes are %+v, want %+v", name, tag, got, want)
			}
		}
	}
}

func TestArchiveNotesOfWhatIsNotThere(t *testing.T) {
	m, _, _ := withHello()
	src := newSource(t, "", m)
	if _, err := src.ArchiveNotes(ctx, "absent", "", v1.Hash{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no repository: %v", err)
	}
	if got := notesOf(t, src, "hello", "", nowhere("0")); got.MTime != 1 || got.Layers != nil {
		t.Errorf("unknown config: %+v", got)
	}
}
