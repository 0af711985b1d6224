package manifest_test

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nixreg/nixreg/manifest"
	"github.com/nixreg/nixreg/manifest/digests"
	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/storetest"
)

func confFor(t *testing.T, m *storetest.Memory, p store.Path, change map[string]any) string {
	t.Helper()
	layer := m.Add("x-customisation-layer", storetest.Files{
		"layer.tar": storetest.File("layer"),
		"checksum":  storetest.File("d0b6b5ab24aa9a69ae9f5e9b6a7b0c5c0c6bc3e8ca7d6a1b6b8a4c6c05b60c1b\n"),
	})
	doc := map[string]any{
		"architecture": "arm64", "config": map[string]any{"Cmd": []string{"/x"}}, "os": "linux",
		"store_layers": [][]string{{p.Abs()}}, "customisation_layer": layer.Abs(), "repo_tag": "team/x:v1",
		"created": "1970-01-01T00:00:01+00:00",
	}
	for k, v := range change {
		doc[k] = v
	}
	b, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestImagesDirectory(t *testing.T) {
	s := nearby{tinyCache(t)} // the catalogue has what has programs
	const conf = "/nix/store/av38h4lm1gp32sk3vpss68g2ickkg344-app-conf.json"
	dir := t.TempDir()
	script := "#!/bin/sh\nexec \"/nix/store/y2yahnlv9qswqyng25fcrs5zla4vjzvd-stream\" " + conf + " \"$@\"\n"
	write(t, filepath.Join(dir, "Team", "app.json"), `{}`)
	write(t, filepath.Join(dir, "stream-app"), script)
	write(t, filepath.Join(dir, ".hidden.json"), script)
	write(t, filepath.Join(dir, "app"), `{"it": "owns the repository app, of which the store has a package"}`)
	if err := os.Symlink(conf, filepath.Join(dir, "linked.json")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("linked.json", filepath.Join(dir, "twice.tar.gz")); err != nil {
		t.Fatal(err)
	}
	src := newSource(t, dir, s)
	want := get(t, src, "linked", "latest")
	for _, name := range []string{"stream-app", "twice"} {
		if got := get(t, src, name, "latest"); got.Digest != want.Digest {
			t.Errorf("%s is %s, not %s", name, got.Digest, want.Digest)
		}
	}
	if names, err := src.Repositories(ctx); err != nil || !slices.Equal(names, []string{"app", "env", "lib", "linked", "odd", "stream-app", "team/app", "twice"}) {
		t.Errorf("repositories are %v, %v", names, err)
	}
	for _, name := range []string{"app", "team/app"} {
		if _, err := src.Inspect(ctx, name, "latest"); !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := src.Inspect(ctx, "linked", "v2"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("linked:v2: %v", err)
	}
	if _, err := manifest.NewSource(manifest.Config{Stores: []store.Store{s}, Images: []string{dir + "/absent"}, Cache: new(digests.Memory)}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("absent directory: %v", err)
	}
}

func TestBrokenConf(t *testing.T) {
	m, lib, _ := withHello()
	gone := m.Add("gone-1", storetest.Files{"x": storetest.File("")})
	m.Delete(gone)
	dir := t.TempDir()
	for name, text := range map[string]string{
		"checksum":  confFor(t, m, lib, nil),
		"notvalid":  confFor(t, m, gone, nil),
		"base":      confFor(t, m, lib, map[string]any{"from_image": lib.Abs()}),
		"nolayer":   confFor(t, m, lib, map[string]any{"customisation_layer": lib.Abs()}),
		"truncated": confFor(t, m, lib, nil)[:100],
	} {
		write(t, filepath.Join(dir, name+".json"), text)
	}
	if err := os.Symlink(gone.Abs(), filepath.Join(dir, "link.json")); err != nil {
		t.Fatal(err)
	}
	src := newSource(t, dir, m)
	for name, kind := range map[string]error{
		"checksum": fs.ErrInvalid, "notvalid": fs.ErrNotExist, "base": fs.ErrInvalid, "nolayer": fs.ErrNotExist,
		"truncated": fs.ErrInvalid, "link": fs.ErrNotExist,
	} {
		if _, err := src.Inspect(ctx, name, "latest"); !errors.Is(err, kind) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
