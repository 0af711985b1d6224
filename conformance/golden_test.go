package conformance_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// golden is one vector: an image as nixpkgs' own program made it.
type golden struct {
	Name         string `json:"name"`
	Args         struct{ Contents []string }
	ConfPath     string   `json:"conf_path"`
	DiffIDs      []string `json:"diff_ids"`
	ConfigDigest string   `json:"config_digest"`
}

// goldens are the vectors whose conf.json is in the machine's store.
func goldens(t *testing.T) []golden {
	t.Helper()
	files, err := filepath.Glob("golden/*-*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden vectors: %v", err)
	}
	var all []golden
	for _, f := range files {
		var g golden
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(b, &g); err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		if inStore(t, g) {
			all = append(all, g)
		}
	}
	return all
}

// inStore reports whether mkstore.sh brought a vector in. Those with Debian's binaries need a cache that not every
// machine has; mkstore.sh says loudly which are not checked without it.
func inStore(t *testing.T, g golden) bool {
	t.Helper()
	standsAlone := strings.HasPrefix(g.Name, "t") || g.Name == "e-big"
	if exists(t, filepath.Join(roots, g.Name)) {
		return true
	}
	if standsAlone || os.Getenv("NIXREG_NIX_CACHE") != "" {
		t.Errorf("%s: not in the store: conformance/nix/mkstore.sh all", g.Name)
	}
	return false
}

// imagesOf makes an --images directory: a link to the conf.json of every vector, under the vector's name.
func imagesOf(t *testing.T, all []golden) string {
	t.Helper()
	dir := t.TempDir()
	for _, g := range all {
		if err := os.Symlink(g.ConfPath, filepath.Join(dir, g.Name+".json")); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func images(dir string) options { return options{Args: []string{"--store", "local", "--images", dir}} }

func TestGoldenImagesOverHTTP(t *testing.T) {
	endToEnd(t)
	all := goldens(t)
	s := start(t, images(imagesOf(t, all)))
	for _, g := range all {
		t.Run(g.Name, func(t *testing.T) {
			m := s.image(t, g.Name, "latest", ociManifest)[0]
			if m.Config.Digest != g.ConfigDigest {
				t.Errorf("config %s, want %s", m.Config.Digest, g.ConfigDigest)
			}
			if got := digests(m.Layers); !slices.Equal(got, prefixed(g.DiffIDs)) { // plain tar: they are the DiffIDs
				t.Errorf("layers %v, want %v", got, g.DiffIDs)
			}
		})
	}
}

func digests(layers []descriptor) []string {
	out := make([]string, len(layers))
	for i, l := range layers {
		out[i] = l.Digest
	}
	return out
}

func prefixed(diffIDs []string) []string {
	out := make([]string, len(diffIDs))
	for i, d := range diffIDs {
		out[i] = "sha256:" + strings.TrimPrefix(d, "sha256:")
	}
	return out
}

// The image ID that Docker computes by itself is nixpkgs'. The tiny vectors are left out: they are made of names that
// no real image has, and their bytes are held above.
func TestGoldenImagesInDocker(t *testing.T) {
	endToEnd(t)
	all := slices.DeleteFunc(goldens(t), func(g golden) bool { return strings.HasPrefix(g.Name, "t") })
	s := start(t, images(imagesOf(t, all)))
	for _, g := range all {
		t.Run(g.Name, func(t *testing.T) {
			image := s.Host + "/" + g.Name
			pull(t, image)
			got := inspect(t, image)
			if got.ID != g.ConfigDigest {
				t.Errorf("image ID %s, want %s", got.ID, g.ConfigDigest)
			}
			if !slices.Equal(got.RootFS.Layers, prefixed(g.DiffIDs)) {
				t.Errorf("layers %v, want %v", got.RootFS.Layers, g.DiffIDs)
			}
		})
	}
}

// A stream script is served as it is: only the conf.json it names is read, nothing is run.
func TestStreamScriptIsServedUnmodified(t *testing.T) {
	endToEnd(t)
	all := goldens(t)
	g := all[slices.IndexFunc(all, func(g golden) bool { return g.Name == "t1-tiny" })]
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "team"), 0o755); err != nil {
		t.Fatal(err)
	}
	script := fmt.Sprintf("#! /bin/bash -e\nexec \"/nix/store/kfgnw06v6vkh1r0is9hszy7d5wm5p6kh-stream\"  %s \"$@\" \n", g.ConfPath)
	if err := os.WriteFile(filepath.Join(dir, "team", "app"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	m := start(t, images(dir)).image(t, "team/app", "latest", ociManifest)[0]
	if m.Config.Digest != g.ConfigDigest {
		t.Errorf("config %s, want %s", m.Config.Digest, g.ConfigDigest)
	}
}

// A package's image has the layers that streamLayeredImage { contents = [ package ]; } gives, in their order with --layering nixpkgs.
// Layers of equal size may stand in another order: nixpkgs' own depends on Python's version.
func TestPackageImageHasNixpkgsLayers(t *testing.T) {
	endToEnd(t)
	all := goldens(t)
	nixpkgs, shared := start(t, local.with("--layering", "nixpkgs")), start(t, local)
	for _, name := range []string{"a-hello", "t1-tiny"} {
		i := slices.IndexFunc(all, func(g golden) bool { return g.Name == name })
		if i < 0 {
			continue // no cache with Debian's binaries
		}
		repo, want := "store/"+hash(all[i].Args.Contents[0]), prefixed(all[i].DiffIDs)
		got := digests(nixpkgs.manifest(t, repo, "latest", ociManifest).Layers)
		if name == "a-hello" && !slices.Equal(got, want) {
			t.Errorf("%s: layers %v, want %v", name, got, want)
		}
		slices.Sort(want)
		for layering, got := range map[string][]string{"nixpkgs": got, "shared": digests(shared.manifest(t, repo, "latest", ociManifest).Layers)} {
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Errorf("%s, %s: layers %v, want %v in any order", name, layering, got, want)
			}
		}
	}
}
