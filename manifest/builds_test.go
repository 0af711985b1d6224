package manifest_test

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nixreg/nixreg/manifest"
	"github.com/nixreg/nixreg/manifest/program"
	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/storetest"
)

// TestBuild: what no store has is built, and is the image that a store with it would have given.
func TestBuild(t *testing.T) {
	w := newWorkshop()
	src := w.source(t)
	got := get(t, src, "htop", "latest")
	if b := w.builds(); b != "htop" {
		t.Errorf("built: %s", b)
	}
	if want := get(t, newSource(t, "", w.store), "htop", "3.3.0"); got.Digest != want.Digest {
		t.Errorf("built it is %s, found it is %s", got.Digest, want.Digest)
	}
	if again := get(t, src, "htop", "latest"); again.Digest != got.Digest {
		t.Errorf("asked again it is %s, not %s", again.Digest, got.Digest)
	}
	r := inspect(t, src, "python3packages.requests", "latest")
	if b := w.builds(); b != "python3Packages.requests" || r.Title != "python3.12-requests" || r.Version != "2.31.0" {
		t.Errorf("built %s: %s %s", b, r.Title, r.Version)
	}
}

// TestBuildsComeLast: an image file, and what a store has, win.
func TestBuildsComeLast(t *testing.T) {
	w := newWorkshop()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "x.yaml"), "{name: htop, contents: hello}")
	src := w.source(t, withFiles(dir))
	for _, name := range []string{"hello", "lib", "htop", "hello/lib"} {
		inspect(t, src, name, "latest")
	}
	if r := inspect(t, src, "hello", "latest"); r.Version != "2.12.1" {
		t.Errorf("hello is %s", r.Version)
	}
	if b := w.builds(); b != "" {
		t.Errorf("built: %s", b)
	}
}

// TestUnknownNamesAreNotBuilt, nor are names that are reserved, or joined with an unknown one.
func TestUnknownNamesAreNotBuilt(t *testing.T) {
	w := newWorkshop()
	reserved := append(program.Architectures(), "shell", "store")
	for _, name := range reserved {
		w.plan(name, name+"-1")
	}
	src := w.source(t)
	names := []string{"absent", "htop/absent", "absent/htop", strings.Repeat("htop/", 32) + "htop", strings.Repeat("a", 256)}
	for _, name := range reserved {
		names = append(names, name, name+"/htop")
	}
	for _, name := range names {
		if _, err := src.Inspect(ctx, name, "latest"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%.50s: %v", name, err)
		}
		if _, err := src.Tags(ctx, name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("tags of %.50s: %v", name, err)
		}
	}
	if b := w.builds(); b != "" {
		t.Errorf("built: %s", b)
	}
	if slices.ContainsFunc(w.found, func(name string) bool { return len(name) > 255 }) {
		t.Error("a name without a bound was looked for")
	}
}

// TestBuiltComposite joins what the store has and what is built, in whatever order it is asked for.
func TestBuiltComposite(t *testing.T) {
	w := newWorkshop()
	src := w.source(t)
	want := get(t, src, "hello/htop/python3packages.requests", "latest")
	if b := w.builds(); b != "htop, python3Packages.requests" {
		t.Errorf("built: %s", b)
	}
	if got := get(t, src, "htop/python3packages.requests/hello/htop", "latest"); got.Digest != want.Digest {
		t.Errorf("in another order it is %s, not %s", got.Digest, want.Digest)
	}
	r := inspect(t, src, "htop/hello", "latest")
	if r.Title != "hello/htop" || layersOf(r) != "lib-1.0 hello-2.12.1 htop-3.3.0 hello-2.12.1+htop-3.3.0" {
		t.Errorf("%s has %s", r.Title, layersOf(r))
	}
	w.planFile("text", "text", "no package")
	if _, err := src.Inspect(ctx, "hello/text", "latest"); !errors.Is(err, fs.ErrInvalid) || !strings.Contains(err.Error(), `"text" is a file`) {
		t.Error(err)
	}
}

// TestBuiltTags: what is built is latest, and has the name of what it was built from; so it has where a store has the
// package, too. Other tags build nothing.
func TestBuiltTags(t *testing.T) {
	w := newWorkshop()
	src := w.source(t)
	_, _, hello := withHello()
	versions := []string{"2.12.1", "latest", "nixos-25.05", hello.Hash()}
	slices.Sort(versions)
	for name, want := range map[string][]string{
		"htop": {"latest", "nixos-25.05"}, "htop/hello": {"latest", "nixos-25.05"}, "hello": versions, "lib/hello": {"latest", "nixos-25.05"},
	} {
		if tags, err := src.Tags(ctx, name); err != nil || !slices.Equal(tags, want) {
			t.Errorf("%s has the tags %s, %v", name, tags, err)
		}
	}
	for _, name := range []string{"htop", "htop/hello"} {
		_, err := src.Inspect(ctx, name, "3.3.0")
		if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "has no tag 3.3.0: what is built or joined has latest and nixos-25.05") {
			t.Error(err)
		}
	}
	for _, ref := range []string{"lib:nixos-25.05", "hello:3", "lib/" + "lib:nixos-25.05"} {
		name, tag, _ := strings.Cut(ref, ":")
		if _, err := src.Inspect(ctx, name, tag); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", ref, err)
		}
	}
	if b := w.builds(); b != "" {
		t.Errorf("built: %s", b)
	}
	for name, want := range map[string]string{"hello": "2.14", "htop": "3.3.0"} {
		if r := inspect(t, src, name, "nixos-25.05"); r.Version != want {
			t.Errorf("%s of the source is %s", name, r.Version)
		}
	}
	if r := inspect(t, src, "hello/lib", "nixos-25.05"); !strings.Contains(layersOf(r), "hello-2.14+lib-1.0") {
		t.Errorf("hello/lib of the source has %s", layersOf(r))
	}
	if b := w.builds(); b != "hello, htop" {
		t.Errorf("built: %s", b)
	}
}

// TestBuiltForArchitectures: an index of those that it can be built for.
func TestBuiltForArchitectures(t *testing.T) {
	w := newWorkshop()
	src := w.source(t, withArchs("arm64", "amd64", "riscv64"))
	if got := architectures(t, src, "htop", "latest"); got != "amd64 arm64" {
		t.Errorf("htop is for %s", got)
	}
	if b := w.builds(); b != "htop amd64, htop arm64, htop riscv64" {
		t.Errorf("built: %s", b)
	}
	if got := architectures(t, src, "htop/python3packages.requests", "latest"); got != "amd64 arm64" {
		t.Errorf("both are for %s", got)
	}
	if got := architectures(t, src, "htop/hello", "latest"); got != "amd64" { // hello is in the store, for amd64
		t.Errorf("htop/hello is for %s", got)
	}
	nowhere := w.source(t, withArchs("riscv64"))
	if _, err := nowhere.Inspect(ctx, "python3packages.requests", "latest"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what is not to be built for any: %v", err)
	}
}

// TestBuildFails: the client is told what the builder says, and of an index no part is left out for that.
func TestBuildFails(t *testing.T) {
	failed := errors.New("builder for htop failed: no space left")
	for _, name := range []string{"htop", "htop/hello"} {
		w := newWorkshop()
		build := w.plans["htop"]
		w.plans["htop"] = func(arch string) ([]store.Path, error) {
			if arch == "arm64" {
				return nil, failed
			}
			return build(arch)
		}
		if _, err := w.source(t, withArchs("amd64", "arm64")).Inspect(ctx, name, "latest"); !errors.Is(err, failed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	w := newWorkshop()
	w.plans["nothing"] = func(string) ([]store.Path, error) { return nil, nil }
	w.plans["elsewhere"] = func(string) ([]store.Path, error) {
		return []store.Path{storetest.NewFixture("elsewhere-1", storetest.Files{"x": storetest.File("")}).Path}, nil
	}
	for name, want := range map[string]string{"nothing": "gave 0 paths", "elsewhere": "none of the stores has it"} {
		if _, err := w.source(t).Inspect(ctx, name, "latest"); err == nil || errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestBuildsMove: the builder is asked again after a minute, as its source may have moved, and when a path has gone.
func TestBuildsMove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorkshop()
		src := w.source(t)
		const name = "python3packages.requests"
		version := func(want, builds string) {
			t.Helper()
			if r := inspect(t, src, name, "latest"); r.Version != want {
				t.Errorf("it is %s, not %s", r.Version, want)
			}
			if b := strings.Count(w.builds(), "requests"); fmt.Sprint(b) != builds {
				t.Errorf("built %d times, not %s", b, builds)
			}
		}
		version("2.31.0", "1")
		w.plan("python3Packages.requests", "python3.12-requests-2.32.0")
		time.Sleep(59 * time.Second)
		version("2.31.0", "0")
		time.Sleep(2 * time.Second)
		version("2.32.0", "1")
		r := inspect(t, src, name, "latest")
		p, _, err := store.ParseAbs(madeOf(r))
		if err != nil {
			t.Fatal(err)
		}
		w.store.Delete(p)
		version("2.32.0", "1")
	})
}

// TestSearchBuildsNothing: a digest that is not known starts no build, but is found in what was built a moment ago.
func TestSearchBuildsNothing(t *testing.T) {
	w := newWorkshop()
	cache := new(shelf)
	src := w.source(t, func(c *manifest.Config) { c.Cache = cache })
	const name = "python3packages.requests"
	if err := known(src, name, nowhere("0")); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if b := w.builds(); b != "" {
		t.Errorf("built: %s", b)
	}
	d := get(t, src, name, "latest")
	cache.lose("link/")
	cache.lose("manifest/")
	if err := known(src, name, d.Digest); err != nil {
		t.Error(err)
	}
	if b := w.builds(); b != "python3Packages.requests" {
		t.Errorf("built: %s", b)
	}
}
