package manifest_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nixreg/nixreg/manifest"
	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/storetest"
)

// TestBuiltGolden: an attribute that is a whole image of streamLayeredImage is that image, byte for byte.
func TestBuiltGolden(t *testing.T) {
	w := newWorkshop()
	tiny := tinyCache(t)
	src := w.source(t, func(c *manifest.Config) { c.Stores = append(c.Stores, tiny) })
	for _, name := range []string{"t1-tiny", "t2-tiny-max4", "t3-tiny-pop", "t4-tiny-links-only", "t5-tiny-env"} {
		b, err := os.ReadFile("../conformance/golden/" + name + ".json")
		if err != nil {
			t.Fatal(err)
		}
		var v vector
		if err := json.Unmarshal(b, &v); err != nil {
			t.Fatal(err)
		}
		conf, _, err := store.ParseAbs(v.ConfPath)
		if err != nil {
			t.Fatal(err)
		}
		w.planFile("images."+name, "stream-"+name, "#!/bin/sh\nexec /nix/store/y2yahnlv9qswqyng25fcrs5zla4vjzvd-stream "+v.ConfPath+" \"$@\"\n")
		w.plans["confs."+name] = func(string) ([]store.Path, error) { return []store.Path{conf}, nil }
		t.Run(name, func(t *testing.T) {
			checkVector(t, src, "images."+name, v)
			checkVector(t, src, "confs."+name, v)
		})
	}
}

// TestBuiltImageTags: an image has the tag that it gives itself, once it was built: by an earlier process, too.
func TestBuiltImageTags(t *testing.T) {
	w := newWorkshop()
	cache := new(shelf)
	here := func(c *manifest.Config) { c.Cache = cache }
	w.planFile("images.web", "web-conf.json", confText(t, w.store, nil))
	src := w.source(t, here)
	if _, err := src.Inspect(ctx, "images.web", "v1"); !errors.Is(err, fs.ErrNotExist) || w.builds() != "" {
		t.Errorf("before it was built: %v", err)
	}
	for _, tag := range []string{"latest", "nixos-25.05", "v1"} {
		if r := inspect(t, src, "images.web", tag); r.Title != "x" || r.Version != "v1" {
			t.Errorf("images.web:%s is %s %s", tag, r.Title, r.Version)
		}
	}
	if tags, err := src.Tags(ctx, "images.web"); err != nil || !slices.Equal(tags, []string{"latest", "nixos-25.05", "v1"}) {
		t.Errorf("tags are %s, %v", tags, err)
	}
	if _, err := src.Inspect(ctx, "images.web", "v2"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("images.web:v2: %v", err)
	}
	inspect(t, w.source(t, here), "images.web", "v1")
	w.plan("images.web", "web-1") // it is a package now
	if _, err := w.source(t, here).Inspect(ctx, "images.web", "v1"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("of a package: %v", err)
	}
}

// TestBuiltArchive: what buildImage makes is served as it is.
func TestBuiltArchive(t *testing.T) {
	w := newWorkshop()
	w.ref = ""
	f := newFinished(t, unpacked)
	w.planFile("app", "docker-image-app.tar.gz", string(gzipped(t, f.nixpkgs(t))))
	src := w.source(t, withArchs("amd64", "arm64"))
	f.check(t, src, "latest")
	f.check(t, src, "v1")
	if b := w.builds(); b != "app amd64, app arm64" {
		t.Errorf("built: %s", b)
	}
}

// TestBuiltForArchitecturesAsImages: the confs say what they are for, whatever images are made for.
func TestBuiltForArchitecturesAsImages(t *testing.T) {
	w := newWorkshop()
	w.plans["web"] = func(arch string) ([]store.Path, error) {
		text := confText(t, w.store, map[string]any{"architecture": arch})
		return []store.Path{w.store.Add("web-"+arch+"-conf.json", storetest.Files{"": storetest.File(text)})}, nil
	}
	if got := architectures(t, w.source(t, withArchs("arm64", "amd64")), "web", "latest"); got != "amd64 arm64" {
		t.Errorf("web is for %s", got)
	}
	w.planFile("web", "web-conf.json", confText(t, w.store, map[string]any{"architecture": "arm"}))
	if got := architectures(t, w.source(t, withArchs("arm64", "amd64")), "web", "latest"); got != "arm" {
		t.Errorf("web is for %s", got)
	}
}

// TestBuiltFile is no image: the client is told what would be one.
func TestBuiltFile(t *testing.T) {
	w := newWorkshop()
	w.planFile("text", "text.txt", "hello")
	if _, err := w.source(t).Inspect(ctx, "text", "latest"); !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), "image text") {
		t.Error(err)
	}
}

// TestDefinitionOfBuilds: contents may be attributes, for the image's architecture. Neither loading nor checking a file
// builds anything.
func TestDefinitionOfBuilds(t *testing.T) {
	w := newWorkshop()
	w.plan("bash", "bash-5.2")
	w.plan("coreutils", "coreutils-9.4")
	file := filepath.Join(t.TempDir(), "x.yaml")
	write(t, file, `
- { name: both, contents: [hello, htop] }
- { name: arm, architecture: arm64, contents: [python3packages.requests] }
- { name: joined, contents: ["hello/htop:latest"] }
- { name: source, contents: ["hello:nixos-25.05"] }
- { name: other, contents: ["htop:9"] }
- { name: unknown, contents: [htop, absent] }
- { name: shell, contents: [shell/htop] }
`)
	cfg := manifest.Config{Stores: []store.Store{w.store}, Builder: w}
	err := manifest.Check(ctx, cfg, file)
	if n := len(strings.Split(fmt.Sprint(err), "\n")); n != 3 || !strings.Contains(err.Error(), "absent") || !strings.Contains(err.Error(), "htop has no tag 9") && !strings.Contains(err.Error(), "called htop") {
		t.Errorf("check: %v", err)
	}
	src := w.source(t, withFiles(file))
	if b := w.builds(); b != "" {
		t.Errorf("built ahead: %s", b)
	}
	for _, want := range []struct{ name, arch, layers, builds string }{ // in this order: the last builds a newer hello
		{"both", "amd64", "lib-1.0 htop-3.3.0 hello-2.12.1 hello-2.12.1+htop-3.3.0", "htop"},
		{"arm", "arm64", "python3.12-requests-2.31.0 python3.12-requests-2.31.0", "python3Packages.requests arm64"},
		{"source", "amd64", "hello-2.14 hello-2.14", "hello"},
	} {
		if r := inspect(t, src, want.name, "latest"); r.Architecture != want.arch || layersOf(r) != want.layers {
			t.Errorf("%s, for %s, has %s", want.name, r.Architecture, layersOf(r))
		}
		if b := w.builds(); b != want.builds {
			t.Errorf("%s: built %s", want.name, b)
		}
	}
	inspect(t, src, "joined", "latest")
	for _, name := range []string{"other", "unknown", "shell"} {
		if _, err := src.Inspect(ctx, name, "latest"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestDefinitionSpelling: contents go to the builder in their own case, and to the stores as a client would pull them.
func TestDefinitionSpelling(t *testing.T) {
	for contents, want := range map[string]struct{ layers, builds string }{
		"Hello":                    {"lib-1.0 hello-2.12.1 hello-2.12.1", ""},
		"SDL2":                     {"SDL2-2.30 SDL2-2.30", ""},
		"SDL2:2.30":                {"SDL2-2.30 SDL2-2.30", ""},
		"Lib/HELLO":                {"lib-1.0 hello-2.12.1 hello-2.12.1+lib-1.0", ""},
		"R":                        {"builtR-1 builtR-1", "R"},
		"r":                        {"builtr-1 builtr-1", "r"},
		"_7zz":                     {"built_7zz-1 built_7zz-1", "_7zz"},
		"nerd-fonts._0xproto":      {"builtnerd-fonts._0xproto-1 builtnerd-fonts._0xproto-1", "nerd-fonts._0xproto"},
		"python3Packages.requests": {"python3.12-requests-2.31.0 python3.12-requests-2.31.0", "python3Packages.requests"},
		"lib/R":                    {"lib-1.0 builtR-1 lib-1.0+builtR-1", "R"},
		"Hello:nixos-25.05":        {"hello-2.14 hello-2.14", "hello"},
	} {
		w := newWorkshop()
		w.store.Add("SDL2-2.30", storetest.Files{"lib/x": storetest.File("x")})
		for _, attr := range []string{"R", "r", "_7zz", "nerd-fonts._0xproto"} {
			w.plan(attr, "built"+attr+"-1")
		}
		file := filepath.Join(t.TempDir(), "x.yaml")
		write(t, file, "{ name: x, contents: '"+contents+"' }")
		src := w.source(t, withFiles(file))
		if err := manifest.Check(ctx, manifest.Config{Stores: []store.Store{w.store}, Builder: w}, file); err != nil || w.builds() != "" {
			t.Errorf("check %s: %v", contents, err)
		}
		if got := layersOf(inspect(t, src, "x", "latest")); got != want.layers {
			t.Errorf("%s has %s", contents, got)
		}
		if b := w.builds(); b != want.builds {
			t.Errorf("%s: built %s", contents, b)
		}
		for _, name := range []string{"SDL2", "SDL2/Hello"} { // under its name a package has one image
			if _, err := src.Inspect(ctx, name, "latest"); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}
