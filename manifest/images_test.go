package manifest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nixreg/nixreg/manifest"
	"github.com/nixreg/nixreg/manifest/digests"
	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/storetest"
)

// confText is a conf.json whose customisation layer is right; change replaces some of its keys.
func confText(t *testing.T, m *storetest.Memory, change map[string]any) string {
	t.Helper()
	const data = "customisation"
	layer := m.Add("y-customisation-layer", storetest.Files{
		"layer.tar": storetest.File(data), "checksum": storetest.File(sha256Hex([]byte(data)) + "\n"),
	})
	doc := map[string]any{
		"architecture": "amd64", "config": map[string]any{}, "os": "linux", "store_layers": [][]string{},
		"customisation_layer": layer.Abs(), "repo_tag": "x:v1", "created": "1970-01-01T00:00:01+00:00",
	}
	for k, v := range change {
		doc[k] = v
	}
	var b bytes.Buffer
	if err := json.NewEncoder(&b).Encode(doc); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func withImages(t *testing.T, s store.Store, roots ...string) *manifest.Source {
	t.Helper()
	src, err := manifest.NewSource(manifest.Config{Stores: []store.Store{s}, Images: roots, Cache: new(digests.Memory)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { src.Close() })
	return src
}

func link(t *testing.T, target, file string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, file); err != nil {
		t.Fatal(err)
	}
}

// TestOwnTag: an image answers to latest and to the tag its repo_tag says, a port in front of it or not.
func TestOwnTag(t *testing.T) {
	m := storetest.New()
	dir := t.TempDir()
	for repoTag, c := range map[string]struct{ tag, title string }{
		"x:v1": {"v1", "x"}, "registry.example.com:5000/team/x:v2": {"v2", "registry.example.com:5000/team/x"}, "localhost:5000/x:5000": {"5000", "localhost:5000/x"},
	} {
		write(t, filepath.Join(dir, "x.json"), confText(t, m, map[string]any{"repo_tag": repoTag}))
		src := newSource(t, dir, m)
		for _, tag := range []string{"latest", c.tag} {
			if r := inspect(t, src, "x", tag); r.Version != c.tag || r.Title != c.title {
				t.Errorf("%s: x:%s is %s %s", repoTag, tag, r.Title, r.Version)
			}
			pull(t, src, "x", tag)
		}
		if tags, err := src.Tags(ctx, "x"); err != nil || len(tags) != 2 {
			t.Errorf("%s: tags are %v, %v", repoTag, tags, err)
		}
	}
	for _, repoTag := range []string{"registry.example.com:5000/team/x", ":v1", "x:", "x"} {
		write(t, filepath.Join(dir, "x.json"), confText(t, m, map[string]any{"repo_tag": repoTag}))
		if _, err := newSource(t, dir, m).Inspect(ctx, "x", "latest"); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%s: %v", repoTag, err)
		}
	}
}

// TestMissingPathIsNamed: who wrote a conf.json is told which path of it is not in the store.
func TestMissingPathIsNamed(t *testing.T) {
	m := storetest.New()
	gone := storetest.NewFixture("gone-1", storetest.Files{"x": storetest.File("")}).Path
	dir := t.TempDir()
	write(t, filepath.Join(dir, "x.json"), confText(t, m, map[string]any{"store_layers": [][]string{{gone.Abs()}}}))
	_, err := newSource(t, dir, m).Inspect(ctx, "x", "latest")
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "conf.json names") || !strings.Contains(err.Error(), string(gone)) {
		t.Error(err)
	}
}

// TestImagesHideNoPackage: whatever becomes of the --images directories, packages are served.
func TestImagesHideNoPackage(t *testing.T) {
	m, _, _ := withHello()
	for name, spoil := range map[string]func(root string) error{
		"vanished":       os.RemoveAll,
		"file instead":   func(root string) error { return errors.Join(os.RemoveAll(root), os.WriteFile(root, nil, 0o644)) },
		"unreadable":     func(root string) error { return os.Chmod(root, 0) },
		"bad folder":     func(root string) error { return errors.Join(os.Mkdir(root+"/a", 0o755), os.Chmod(root+"/a", 0)) },
		"too deep":       func(root string) error { return os.MkdirAll(root+strings.Repeat("/a", 40), 0o755) },
		"too many files": func(root string) error { return fill(root, 10_001) },
	} {
		t.Run(name, func(t *testing.T) {
			root := filepath.Join(t.TempDir(), "hello") // what vanishes must not own the repository of its name
			if err := os.Mkdir(root, 0o755); err != nil {
				t.Fatal(err)
			}
			src := withImages(t, m, root)
			t.Cleanup(func() { os.Chmod(root, 0o755); os.Chmod(root+"/a", 0o755) })
			if err := spoil(root); err != nil {
				t.Fatal(err)
			}
			pull(t, src, "hello", "latest")
			if names, err := src.Repositories(ctx); err != nil || len(names) == 0 {
				t.Errorf("repositories are %v, %v", names, err)
			}
			if _, err := src.Blob(ctx, "hello", nowhere("1")); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("an unknown blob: %v", err)
			}
		})
	}
}

func fill(dir string, n int) error {
	if err := os.WriteFile(filepath.Join(dir, "f"), nil, 0o644); err != nil {
		return err
	}
	for i := range n {
		if err := os.Link(filepath.Join(dir, "f"), fmt.Sprintf("%s/f%d", dir, i)); err != nil {
			return err
		}
	}
	return nil
}

// TestTooLargeInput is the input's fault.
func TestTooLargeInput(t *testing.T) {
	m := storetest.New()
	dir := t.TempDir()
	large := m.Add("y-customisation-layer", storetest.Files{"layer.tar": storetest.File("x"), "checksum": storetest.File(strings.Repeat("0", 2000))})
	write(t, filepath.Join(dir, "x.json"), confText(t, m, map[string]any{"customisation_layer": large.Abs()}))
	_, err := newSource(t, dir, m).Inspect(ctx, "x", "latest")
	if !errors.Is(err, fs.ErrInvalid) || !errors.Is(err, store.ErrTooLarge) {
		t.Error(err)
	}
}

// TestLargeConfig: a small conf.json can make a config that is larger than clients take.
func TestLargeConfig(t *testing.T) {
	m := storetest.New()
	dir := t.TempDir()
	deep := strings.Repeat("[", 190) + strings.Repeat("1,", 1<<13) + "1" + strings.Repeat("]", 190) // indented by 760 each
	text := strings.Replace(confText(t, m, map[string]any{"config": map[string]any{"x": 12345}}), "12345", deep, 1)
	write(t, filepath.Join(dir, "x.json"), text)
	if _, err := newSource(t, dir, m).Inspect(ctx, "x", "latest"); !errors.Is(err, fs.ErrInvalid) || !strings.Contains(err.Error(), "config") {
		t.Errorf("%d bytes of conf.json: %v", len(text), err)
	}
}

// TestRelativeLinkBehindALink: ".." in a link leads out of where its directory really is.
func TestRelativeLinkBehindALink(t *testing.T) {
	m := storetest.New()
	conf := m.Add("x-conf.json", storetest.Files{"": storetest.File(confText(t, m, nil))})
	top := t.TempDir()
	link(t, conf.Abs(), filepath.Join(top, "data/v2/confs/app.json"))
	link(t, "../confs/app.json", filepath.Join(top, "data/v2/images/app.json"))
	link(t, "data/v2/images", filepath.Join(top, "images"))
	want := get(t, newSource(t, filepath.Join(top, "data/v2/images"), m), "app", "latest").Digest
	if got := get(t, newSource(t, filepath.Join(top, "images"), m), "app", "latest").Digest; got != want {
		t.Errorf("%s, not %s", got, want)
	}
}

// TestFirstRootWins: of two image files with one name it is the first root's that counts, and in one root the first by
// name, whatever their suffixes.
func TestFirstRootWins(t *testing.T) {
	m := storetest.New()
	one, two := t.TempDir(), t.TempDir()
	write(t, filepath.Join(one, "a.tar"), confText(t, m, map[string]any{"repo_tag": "a:one"}))
	write(t, filepath.Join(two, "a.json"), confText(t, m, map[string]any{"repo_tag": "a:two"}))
	write(t, filepath.Join(two, "a.tar"), confText(t, m, map[string]any{"repo_tag": "a:three"}))
	for _, c := range []struct {
		roots []string
		want  string
	}{{[]string{one, two}, "one"}, {[]string{two, one}, "two"}, {[]string{filepath.Join(two, "a.tar"), one}, "three"}} {
		if r := inspect(t, withImages(t, m, c.roots...), "a", "latest"); r.Version != c.want {
			t.Errorf("%v: a is %s, not %s", c.roots, r.Version, c.want)
		}
	}
}

// TestLinkIntoTheStore is followed by the store alone: only valid paths count, and their files may lie elsewhere.
func TestLinkIntoTheStore(t *testing.T) {
	m := storetest.New()
	conf := m.Add("x-conf.json", storetest.Files{"": storetest.File(confText(t, m, nil))})
	dir := t.TempDir()
	link(t, conf.Abs(), filepath.Join(dir, "direct"))
	link(t, "direct", filepath.Join(dir, "twice"))
	var opened []store.Path
	src := newSource(t, dir, &faulty{Store: m, open: func(_ context.Context, p store.Path) error {
		opened = append(opened, p)
		return nil
	}})
	for _, name := range []string{"direct", "twice"} {
		opened = nil
		if inspect(t, src, name, "latest"); len(opened) == 0 || opened[0] != conf {
			t.Errorf("%s: opened %v, not %s", name, opened, conf)
		}
	}
	m.Delete(conf)
	if _, err := src.Inspect(ctx, "direct", "latest"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a path that is not valid any more: %v", err)
	}
}
