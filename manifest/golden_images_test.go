package manifest_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/nixreg/nixreg/manifest"
	"github.com/nixreg/nixreg/manifest/digests"
	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/binarycache"
	"github.com/nixreg/nixreg/store/local"
)

type vector struct {
	ConfPath     string   `json:"conf_path"`
	DiffIDs      []string `json:"diff_ids"`
	LayerSizes   []int64  `json:"layer_sizes"`
	ConfigDigest string   `json:"config_digest"`
	ConfigText   string   `json:"config_text"`
}

func tinyCache(t *testing.T) store.Store {
	t.Helper()
	s, err := binarycache.Open(binarycache.Options{FS: os.DirFS("../store/binarycache/testdata/tiny-cache"), Trusted: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func newSource(t *testing.T, images string, stores ...store.Store) *manifest.Source {
	t.Helper()
	cfg := manifest.Config{Stores: stores, Cache: new(digests.Memory)}
	if images != "" {
		cfg.Images = []string{images}
	}
	src, err := manifest.NewSource(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { src.Close() })
	return src
}

func first(offers ...types.MediaType) (types.MediaType, bool) { return offers[0], true }

// pull fetches an image by tag: its manifest, its config, and each layer's digest and size as its bytes have them.
func pull(t *testing.T, src *manifest.Source, repository, tag string) (*v1.Manifest, []byte) {
	t.Helper()
	ctx := context.Background()
	desc, err := src.Manifest(ctx, manifest.Request{Repository: repository, Tag: tag, Accept: first})
	if err != nil {
		t.Fatal(err)
	}
	m, err := v1.ParseManifest(bytes.NewReader(desc.Data))
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range m.Layers {
		digest(t, src, repository, l.Digest, nil)
	}
	var config bytes.Buffer
	digest(t, src, repository, m.Config.Digest, &config)
	return m, config.Bytes()
}

// digest reads a blob and checks that it is what its digest says.
func digest(t *testing.T, src *manifest.Source, repository string, d v1.Hash, to *bytes.Buffer) {
	t.Helper()
	b, err := src.Blob(context.Background(), repository, d)
	if err != nil {
		t.Fatal(err)
	}
	h := sha256.New()
	if err := b.WriteRange(context.Background(), h, 0, b.Size()); err != nil {
		t.Fatal(err)
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != d.Hex {
		t.Errorf("blob %s has the bytes of sha256:%s", d, got)
	}
	if to != nil {
		if err := b.WriteRange(context.Background(), to, 0, b.Size()); err != nil {
			t.Fatal(err)
		}
	}
}

// checkVectors serves each vector's conf.json by a link into the store and holds the image against the vector.
func checkVectors(t *testing.T, s store.Store, names ...string) {
	dir := t.TempDir()
	vectors := make(map[string]vector)
	for _, name := range names {
		b, err := os.ReadFile("../conformance/golden/" + name + ".json")
		if err != nil {
			t.Fatal(err)
		}
		var v vector
		if err := json.Unmarshal(b, &v); err != nil {
			t.Fatal(err)
		}
		vectors[name] = v
		if err := os.Symlink(v.ConfPath, filepath.Join(dir, name+".json")); err != nil {
			t.Fatal(err)
		}
	}
	src := newSource(t, dir, s)
	for name, v := range vectors {
		t.Run(name, func(t *testing.T) { checkVector(t, src, name, v) })
	}
}

func checkVector(t *testing.T, src *manifest.Source, name string, v vector) {
	m, config := pull(t, src, name, "latest")
	if string(config) != v.ConfigText {
		t.Errorf("config is\n%s\nnot\n%s", config, v.ConfigText)
	}
	if m.Config.Digest.String() != v.ConfigDigest {
		t.Errorf("config digest is %s, not %s", m.Config.Digest, v.ConfigDigest)
	}
	var got []string
	for i, l := range m.Layers {
		got = append(got, l.Digest.String())
		if i < len(v.LayerSizes) && l.Size != v.LayerSizes[i] {
			t.Errorf("layer %d has %d bytes, not %d", i, l.Size, v.LayerSizes[i])
		}
	}
	if strings.Join(got, "\n") != strings.Join(v.DiffIDs, "\n") {
		t.Errorf("layers are\n%s\nnot\n%s", strings.Join(got, "\n"), strings.Join(v.DiffIDs, "\n"))
	}
}

// TestGoldenTiny holds images of odd names, links and modes against nixpkgs' bytes.
func TestGoldenTiny(t *testing.T) {
	checkVectors(t, tinyCache(t), "t1-tiny", "t2-tiny-max4", "t3-tiny-pop", "t4-tiny-links-only", "t5-tiny-env")
}

// TestGoldenStore does the same with the real store of the machine, for those vectors whose images are in it: e-big
// always, the hello closures where the machine's packages, or a cache, make the very same store paths.
func TestGoldenStore(t *testing.T) {
	if os.Getenv("NIXREG_E2E") == "" {
		t.Skip("needs a Nix store: set NIXREG_E2E=1 to run it")
	}
	s, err := local.Open(local.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	names := []string{"e-big", "t1-tiny", "t2-tiny-max4", "t3-tiny-pop", "t4-tiny-links-only", "t5-tiny-env"}
	for _, name := range []string{"a-hello", "a2-hello-notag", "b-nostore", "c-configclosure", "d1-owner", "d2-mtime", "d4-max3", "d5-pop", "g-from"} {
		b, err := os.ReadFile("../conformance/golden/" + name + ".json")
		if err != nil {
			t.Fatal(err)
		}
		var v vector
		if err := json.Unmarshal(b, &v); err != nil {
			t.Fatal(err)
		}
		p, _, err := store.ParseAbs(v.ConfPath)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Object(context.Background(), p); err != nil {
			t.Logf("NOT CHECKED: golden vector %s: its image is not in this machine's store", name)
			continue
		}
		names = append(names, name)
	}
	checkVectors(t, s, names...)
}
