package manifest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nixreg/nixreg/manifest"
	"github.com/nixreg/nixreg/manifest/digests"
	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/storetest"
)

// edited is a Source of a directory that a test edits, with its log.
func edited(t *testing.T, m *storetest.Memory, files map[string]string) (src *manifest.Source, dir string, log *bytes.Buffer) {
	t.Helper()
	dir = t.TempDir()
	for name, text := range files {
		write(t, filepath.Join(dir, name), text)
	}
	src, log = openLogged(t, m, dir)
	return src, dir, log
}

// openLogged is a Source of a directory, with its log.
func openLogged(t *testing.T, s store.Store, dir string) (*manifest.Source, *bytes.Buffer) {
	t.Helper()
	log := new(bytes.Buffer)
	src, err := manifest.NewSource(manifest.Config{
		Stores: []store.Store{s}, Images: []string{dir}, Cache: new(digests.Memory), Log: slog.New(slog.NewTextHandler(log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { src.Close() })
	return src, log
}

// replace writes a file as careful editors do, so that it is never half written.
func replace(t *testing.T, file, text string) {
	t.Helper()
	write(t, file+"~", text)
	if err := os.Rename(file+"~", file); err != nil {
		t.Fatal(err)
	}
}

func title(src *manifest.Source, name string) string {
	reports, err := src.Inspect(ctx, name, "latest")
	if err != nil {
		return err.Error()
	}
	return reports[0].Version
}

// TestReload: a definition file that was changed counts at once; a broken one not at all, and that is said.
func TestReload(t *testing.T) {
	m, _, _ := withHello()
	src, dir, log := edited(t, m, map[string]string{"a.yaml": "{name: x, tag: one}"})
	file := filepath.Join(dir, "a.yaml")
	reload := func(text string) (faults string) {
		replace(t, file, text)
		src.Catalog().Reload(ctx)
		return strings.Join(src.Catalog().Faults(ctx), "\n")
	}
	if got := title(src, "x"); got != "one" {
		t.Errorf("at first: %s", got)
	}
	if faults := reload("{name: x, tag: two}"); faults != "" || title(src, "x") != "two" {
		t.Errorf("edited: %s, %s", title(src, "x"), faults)
	}
	for _, broken := range []string{"{name: x, tag: three, tga: x}\n---\nname: 7", "{name: x", "", "just text", "\x00"} {
		log.Reset()
		if faults := reload(broken); !strings.HasPrefix(faults, "a.yaml:1:") || title(src, "x") != "two" {
			t.Errorf("%q: %s, %s", broken, title(src, "x"), faults)
		}
		if n := strings.Count(log.String(), "definition file is broken: what it said before stays"); n != len(src.Catalog().Faults(ctx)) {
			t.Errorf("%q: %d problems are logged, not %d: %s", broken, n, len(src.Catalog().Faults(ctx)), log)
		}
		log.Reset()
		for range 2 {
			src.Catalog().Reload(ctx)
		}
		if log.Len() > 0 {
			t.Errorf("%q: it is said again: %s", broken, log)
		}
	}
	if faults := reload("{name: y, tag: four}"); faults != "" || title(src, "y") != "four" {
		t.Errorf("mended: %s, %s", title(src, "y"), faults)
	}
	if names, _ := src.Repositories(ctx); !slices.Equal(names, []string{"hello", "y"}) {
		t.Errorf("repositories are %v", names)
	}
	if faults := reload(confText(t, m, map[string]any{"repo_tag": "x:five"})); faults != "" || title(src, "a") != "five" {
		t.Errorf("a conf.json in its place: %s, %s", title(src, "a"), faults)
	}
	os.Remove(file)
	src.Catalog().Reload(ctx)
	if got := title(src, "y"); got == "four" || len(src.Catalog().Faults(ctx)) > 0 {
		t.Errorf("deleted: %s, %q", got, src.Catalog().Faults(ctx))
	}
}

// TestBrokenBeyondRecognition: a file that defined images is taken for a definition file, whatever is in it now.
func TestBrokenBeyondRecognition(t *testing.T) {
	m, _, _ := withHello()
	src, dir, _ := edited(t, m, map[string]string{"images": "{name: x, tag: one}"})
	for _, text := range []string{"just text", "{", "\x00\x01"} {
		replace(t, filepath.Join(dir, "images"), text)
		src.Catalog().Reload(ctx)
		if got := title(src, "x"); got != "one" || len(src.Catalog().Faults(ctx)) == 0 {
			t.Errorf("%q: %s, %q", text, got, src.Catalog().Faults(ctx))
		}
	}
}

// TestBrokenEditIsLogged: each problem once, with its place.
func TestBrokenEditIsLogged(t *testing.T) {
	m, _, _ := withHello()
	src, dir, log := edited(t, m, map[string]string{"a.yaml": "{name: x}"})
	replace(t, filepath.Join(dir, "a.yaml"), "name: x\ntga: y\nuid: z\n")
	src.Catalog().Reload(ctx)
	for _, place := range []string{"a.yaml:2:1: ", "a.yaml:3:6: "} {
		if n := strings.Count(log.String(), place); n != 1 {
			t.Errorf("%s is logged %d times: %s", place, n, log)
		}
	}
}

// TestReloadByItself: what takes a name in a folder is seen at the next request, and another text in the same file a
// second after the last look.
func TestReloadByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, _, _ := withHello()
		src, dir, _ := edited(t, m, map[string]string{"a.yaml": "{name: x, tag: one}"})
		replace(t, filepath.Join(dir, "a.yaml"), "{name: x, tag: two}")
		if got := title(src, "x"); got != "two" {
			t.Errorf("another file of the name: %s", got)
		}
		write(t, filepath.Join(dir, "a.yaml"), "{name: x, tag: three}")
		time.Sleep(time.Second)
		if got := title(src, "x"); got != "three" {
			t.Errorf("another text, after a second: %s", got)
		}
		write(t, filepath.Join(dir, "b.yaml"), "{name: new}")
		if _, err := src.Inspect(ctx, "new", "latest"); err != nil {
			t.Errorf("a new file: %v", err)
		}
	})
}

// TestExplicitFileVanishes: one that was named stays what it was.
func TestExplicitFileVanishes(t *testing.T) {
	m, _, _ := withHello()
	file := filepath.Join(t.TempDir(), "x")
	write(t, file, "{name: x, tag: one}")
	src := withImages(t, m, file)
	os.Remove(file)
	src.Catalog().Reload(ctx)
	if faults := src.Catalog().Faults(ctx); title(src, "x") != "one" || len(faults) != 1 || !strings.Contains(faults[0], "no such file") {
		t.Errorf("%s, %q", title(src, "x"), faults)
	}
}

// TestLinkedDefinition is read again when the path that it leads to becomes valid, whatever it is called.
func TestLinkedDefinition(t *testing.T) {
	for _, name := range []string{"images", "images.yaml"} {
		m, _, _ := withHello()
		f := storetest.NewFixture("images", storetest.Files{"": storetest.File("{name: x, tag: one}")})
		src, dir, log := edited(t, m, nil)
		link(t, f.Path.Abs(), filepath.Join(dir, name))
		for range 3 {
			if _, err := src.Inspect(ctx, "x", "latest"); !errors.Is(err, fs.ErrNotExist) {
				t.Error(err)
			}
			src.Catalog().Reload(ctx)
		}
		if n := strings.Count(log.String(), "definition file is broken"); n > 1 {
			t.Errorf("%s: it is said %d times", name, n)
		}
		m.Put(f)
		src.Catalog().Reload(ctx)
		if got := title(src, "x"); got != "one" || len(src.Catalog().Faults(ctx)) > 0 {
			t.Errorf("%s: %s, %q", name, got, src.Catalog().Faults(ctx))
		}
		m.Delete(f.Path)
		src.Catalog().Reload(ctx)
		if got := title(src, "x"); got != "one" {
			t.Errorf("%s, collected: %s", name, got)
		}
	}
}

// TestStoreIsNotReadAtTheStart for links whose names tell that they are no definition files: it may be far away.
func TestStoreIsNotReadAtTheStart(t *testing.T) {
	m := storetest.New()
	dir := t.TempDir()
	for _, name := range []string{"app-conf.json", "stream-app", "docker-image-app.tar.gz"} {
		link(t, m.Add(name, storetest.Files{"": storetest.File("#!")}).Abs(), filepath.Join(dir, name))
	}
	var opened []store.Path
	newSource(t, dir, &faulty{Store: m, open: func(_ context.Context, p store.Path) error {
		opened = append(opened, p)
		return nil
	}})
	if len(opened) > 0 {
		t.Errorf("opened %v", opened)
	}
}

// TestUnreadableAtTheStart keeps no other image from being served.
func TestUnreadableAtTheStart(t *testing.T) {
	m, _, _ := withHello()
	dir := t.TempDir()
	link(t, storetest.NewFixture("images", nil).Path.Abs(), filepath.Join(dir, "gone.yaml"))
	write(t, filepath.Join(dir, "good.yaml"), "{name: x, tag: one}")
	log := new(bytes.Buffer)
	src, err := manifest.NewSource(manifest.Config{
		Stores: []store.Store{m}, Images: []string{dir}, Cache: new(digests.Memory), Log: slog.New(slog.NewTextHandler(log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	if got := title(src, "x"); got != "one" || len(src.Catalog().Faults(ctx)) != 1 || strings.Count(log.String(), "gone.yaml") == 0 {
		t.Errorf("%s, faults %q, log %s", got, src.Catalog().Faults(ctx), log)
	}
}

// TestBrokenAtTheStart: all that is wrong is told, and nothing is served.
func TestBrokenAtTheStart(t *testing.T) {
	m, _, _ := withHello()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a.yaml"), "name: x\ntga: y\nuid: z\n")
	write(t, filepath.Join(dir, "b.yml"), "not: [closed\n")
	write(t, filepath.Join(dir, "good.yaml"), "name: good\n")
	log := new(bytes.Buffer)
	_, err := manifest.NewSource(manifest.Config{
		Stores: []store.Store{m}, Images: []string{dir}, Cache: new(digests.Memory), Log: slog.New(slog.NewTextHandler(log, nil)),
	})
	if !errors.Is(err, fs.ErrInvalid) || log.Len() > 0 {
		t.Fatalf("%v, log %s", err, log)
	}
	for _, place := range []string{"/a.yaml:2:1: ", "/a.yaml:3:6: ", "/b.yml:"} {
		if !strings.Contains(err.Error(), place) {
			t.Errorf("%s is not in %v", place, err)
		}
	}
}

// TestBrokenNewFile owns the repository of its own name, as every image file does, and says there what is wrong.
func TestBrokenNewFile(t *testing.T) {
	m, _, _ := withHello()
	src, dir, _ := edited(t, m, nil)
	write(t, filepath.Join(dir, "new.yaml"), "name: x\ntga: y\n")
	src.Catalog().Reload(ctx)
	if _, err := src.Inspect(ctx, "new", "latest"); !errors.Is(err, fs.ErrInvalid) || !strings.Contains(err.Error(), "new.yaml:2:1: ") || strings.Contains(err.Error(), dir) {
		t.Error(err)
	}
	if len(src.Catalog().Faults(ctx)) != 1 {
		t.Errorf("faults are %q", src.Catalog().Faults(ctx))
	}
}

// TestDefinitionCollisions: the first file that has a name has it alone; the others are told of once.
func TestDefinitionCollisions(t *testing.T) {
	m, _, _ := withHello()
	src, dir, log := edited(t, m, map[string]string{
		"a.yaml": "[{name: x, tag: one}, {name: b, tag: one}]", "b.json": confText(t, m, nil), "c.yaml": "[{name: x, tag: two}, {name: c, tag: two}]",
	})
	for name, want := range map[string]string{"x": "one", "b": "one", "c": "two"} {
		if got := title(src, name); got != want {
			t.Errorf("%s is %s", name, got)
		}
	}
	for _, want := range []string{fmt.Sprintf("repository=x file=%s/c.yaml by=%[1]s/a.yaml", dir), fmt.Sprintf("repository=b file=%s/b.json by=%[1]s/a.yaml", dir)} {
		if n := strings.Count(log.String(), want); n != 1 {
			t.Errorf("%q is logged %d times: %s", want, n, log)
		}
	}
}

// TestMissingPathsAreTold when a file is read, until they are valid: in the log once.
func TestMissingPathsAreTold(t *testing.T) {
	m, _, _ := withHello()
	gone := storetest.NewFixture("gone-1", storetest.Files{"x": storetest.File("")})
	src, dir, log := edited(t, m, map[string]string{"a.yaml": "name: x\ncontents:\n  - " + gone.Path.Abs() + "\n"})
	want := []string{"a.yaml:3:5: contents: a store path that is not valid"}
	for range 2 {
		if got := src.Catalog().Faults(ctx); !slices.Equal(got, want) {
			t.Errorf("faults are %q", got)
		}
		m.Add("other-1", nil)
		src.Catalog().Reload(ctx)
	}
	if want := fmt.Sprintf("image=x at=%s/a.yaml:3:5 reason=%q", dir, gone.Path.Abs()+" is not valid in the store"); strings.Count(log.String(), want) != 1 {
		t.Errorf("log is %s", log)
	}
	m.Put(gone)
	src.Catalog().Reload(ctx)
	if got := src.Catalog().Faults(ctx); len(got) > 0 {
		t.Errorf("faults are %q when it is valid", got)
	}
}
