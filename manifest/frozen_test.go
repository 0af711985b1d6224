package manifest_test

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/nixreg/nixreg/manifest"
	"github.com/nixreg/nixreg/manifest/digests"
	"github.com/nixreg/nixreg/manifest/layer"
	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/binarycache"
	"github.com/nixreg/nixreg/store/demo"
)

var update = flag.Bool("update", false, "print the manifest digests as they are now")

// TestFrozenManifests holds the digests of manifests and indexes, which clients pin. A line of testdata/manifests.txt
// that changes breaks everyone who did: a new format must give new images, never other digests to old ones.
func TestFrozenManifests(t *testing.T) {
	want, err := os.ReadFile("testdata/manifests.txt")
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	encoded := make(map[string]string)
	tiny := tinyCache(t)
	demoStore, err := binarycache.Open(binarycache.Options{FS: demo.FS(), Trusted: true})
	if err != nil {
		t.Fatal(err)
	}
	defer demoStore.Close()
	printManifests(t, &got, "demo", newSource(t, "", demoStore), "hello:latest", "hello:1.0", "greeting:latest", "nixreg-logo:latest", "greeting/hello:latest")
	printManifests(t, &got, "tiny", newSource(t, "", tiny), "app:latest", "odd:3.14", "lib:latest", "env:latest", "app/odd:latest")
	for name, e := range map[string]layer.Encoding{"gzip": layer.Gzip, "zstd": layer.Zstd} {
		var lines strings.Builder
		src, err := manifest.NewSource(manifest.Config{Stores: []store.Store{demoStore}, Cache: new(digests.Memory), Encoding: e})
		if err != nil {
			t.Fatal(err)
		}
		defer src.Close()
		printManifests(t, &lines, name, src, "hello:latest")
		encoded[name] = lines.String()
	}
	got.WriteString(encoded["gzip"] + encoded["zstd"])
	dir := t.TempDir()
	for name, conf := range map[string]string{
		"t1": "av38h4lm1gp32sk3vpss68g2ickkg344-app-conf.json", "t2": "c1x9x40as6726xzm3br0blc3c9nn8fhm-app-conf.json",
		"t3": "gcwc0rljqy48y6sdb38ij3rlgisy5x2j-app-conf.json", "t4": "ql2hj60553b4f62xy5lcn229d4xvsqrj-app-conf.json",
		"t5": "ndvw6qpcmbdd1cazfcpfgm58vq3pwxhn-env-conf.json",
	} {
		if err := os.Symlink("/nix/store/"+conf, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	printManifests(t, &got, "conf", newSource(t, dir, tiny), "t1:latest", "t2:latest", "t3:latest", "t4:latest", "t5:latest")
	printManifests(t, &got, "definition", define(t, tiny, frozenDefinitions), "one:latest", "few:latest", "links:latest", "closure:latest", "pair:latest")
	if *update {
		fmt.Print(got.String())
	}
	compareLines(t, got.String(), string(want))
}

// TestFormat1: clients have pinned digests of format 1. They are found though nothing is remembered of them, and an unknown digest is
// not.
func TestFormat1(t *testing.T) {
	text, err := os.ReadFile("testdata/manifests-format1.txt")
	if err != nil {
		t.Fatal(err)
	}
	demoStore, err := binarycache.Open(binarycache.Options{FS: demo.FS(), Trusted: true})
	if err != nil {
		t.Fatal(err)
	}
	defer demoStore.Close()
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		group, digest := words[0], words[3]
		if words[2] == "application/spdx+json" {
			continue // a referrer: its manifest is found by the subject's
		}
		cfg := manifest.Config{Stores: []store.Store{demoStore}, Cache: new(digests.Memory), Encoding: layer.EncodingsByName()[group]}
		if group == "tiny" {
			cfg.Stores = []store.Store{tinyCache(t)}
		}
		src, err := manifest.NewSource(cfg)
		if err != nil {
			t.Fatal(err)
		}
		repository, _, _ := strings.Cut(words[1], ":")
		want, err := v1.NewHash(digest)
		if err != nil {
			t.Fatal(err)
		}
		d, err := src.Manifest(ctx, manifest.Request{Repository: repository, Digest: want})
		if err != nil || string(d.MediaType) != words[2] || d.Digest.String() != digest {
			t.Errorf("%s: %v", strings.TrimSpace(line), err)
		}
		if _, err := src.Manifest(ctx, manifest.Request{Repository: repository, Digest: v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("0", 64)}}); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("an unknown digest of %s: %v", repository, err)
		}
		src.Close()
	}
}

// frozenDefinitions use each argument.
const frozenDefinitions = `
- {name: one, contents: [app]}
- name: Few
  tag: v1
  contents: [/nix/store/s76lhzs0vf6bsih2bri2h1fpd5yzihaz-app-1.2.3, odd]
  config: {Env: [X=ü], User: "1000:100", ExposedPorts: {80/tcp: {}}, Labels: {a: "<&>"}}
  created: 2024-02-29T12:34:56+02:00
  mtime: 2001-09-09T01:46:40Z
  uid: 1000
  gid: 100
  uname: u
  gname: g
  maxLayers: 6
  layering: popularity
  includeNixDB: true
  root: [passwd, tmp]
- {name: links, contents: [app], includeStorePaths: false}
- {name: closure, config: {Cmd: [/nix/store/s76lhzs0vf6bsih2bri2h1fpd5yzihaz-app-1.2.3/bin/app]}}
- {name: pair, contents: [lib], architecture: arm, variant: v7}
- {name: pair, contents: [lib], architecture: amd64}
`

// printManifests writes a line for each reference in each media type that there is.
func printManifests(t *testing.T, w *strings.Builder, group string, src *manifest.Source, refs ...string) {
	t.Helper()
	for _, ref := range refs {
		repository, tag, _ := strings.Cut(ref, ":")
		for _, mt := range []types.MediaType{types.OCIImageIndex, types.DockerManifestList, types.OCIManifestSchema1, types.DockerManifestSchema2} {
			d, err := src.Manifest(ctx, manifest.Request{Repository: repository, Tag: tag, Accept: only(mt)})
			if err == nil {
				fmt.Fprintln(w, group, ref, mt, d.Digest)
				printReferrers(t, w, group, src, repository, ref, d.Digest)
			} else if mt == types.OCIManifestSchema1 || mt == types.DockerManifestSchema2 {
				t.Errorf("%s: %v", ref, err)
			}
		}
	}
}

func printReferrers(t *testing.T, w *strings.Builder, group string, src *manifest.Source, repository, ref string, d v1.Hash) {
	t.Helper()
	list, err := src.Referrers(ctx, repository, d)
	if err != nil {
		t.Errorf("%s: %v", ref, err)
	}
	for _, r := range list {
		fmt.Fprintln(w, group, ref, r.ArtifactType, r.Digest)
	}
}

func compareLines(t *testing.T, got, want string) {
	t.Helper()
	a, b := bufio.NewScanner(strings.NewReader(got)), bufio.NewScanner(strings.NewReader(want))
	for a.Scan() {
		if b.Scan(); a.Text() != b.Text() {
			t.Errorf("is     %s\nfrozen %s", a.Text(), b.Text())
		}
	}
	if b.Scan() {
		t.Errorf("frozen, but gone: %s", b.Text())
	}
}
