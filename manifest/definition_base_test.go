package manifest_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"

	"github.com/nixreg/nixreg/manifest"
	"github.com/nixreg/nixreg/manifest/digests"
	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/storetest"
)

// TestDefinitionBase: a base image in the store, on disk, or behind a link, gives the same.
func TestDefinitionBase(t *testing.T) {
	m, _, _ := withHello()
	base := newBase()
	text := base.archive(t)
	p := m.Add("base.tar", storetest.Files{"": storetest.File(text)})
	dir := t.TempDir()
	write(t, filepath.Join(dir, "base.tar"), text)
	link(t, p.Abs(), filepath.Join(dir, "stored.tar"))
	link(t, "base.tar", filepath.Join(dir, "linked.tar"))
	const args = "name: x\ncontents: hello\nconfig: {Env: [B=2, PATH=/own]}\nmaxLayers: 4\nfromImage: "
	var config v1.Hash
	for _, from := range []string{p.Abs(), "base.tar", filepath.Join(dir, "base.tar"), "stored.tar", "linked.tar"} {
		file := filepath.Join(dir, "web.yaml")
		write(t, file, args+from)
		src := withImages(t, m, file)
		doc, _ := pull(t, src, "x", "latest")
		var got []string
		for _, l := range doc.Layers {
			got = append(got, l.Digest.String())
		}
		if len(got) != 4 || !slices.Equal(got[:2], base.diffIDs) {
			t.Errorf("%s: layers are %v", from, got)
		}
		r := inspect(t, src, "x", "latest")
		if want := "a/layer.tar b/layer.tar hello-2.12.1+lib-1.0 hello-2.12.1"; layersOf(r) != want {
			t.Errorf("%s: layers have %s, not %s", from, layersOf(r), want)
		}
		if want := []string{"PATH=/own", "A=1", "B=2"}; !slices.Equal(r.Env, want) {
			t.Errorf("%s: env is %q, not %q", from, r.Env, want)
		}
		if config == (v1.Hash{}) {
			config = r.Config
		}
		if r.Config != config {
			t.Errorf("%s: config is %s, not %s", from, r.Config, config)
		}
	}
}

// TestBaseReplaced: another base image, another image, a second later at the latest.
func TestBaseReplaced(t *testing.T) { synctest.Test(t, baseReplaced) }

func baseReplaced(t *testing.T) {
	m, _, _ := withHello()
	dir := t.TempDir()
	base := newBase()
	write(t, filepath.Join(dir, "base.tar"), base.archive(t))
	write(t, filepath.Join(dir, "web.yaml"), "name: x\nfromImage: base.tar\n")
	src := withImages(t, m, filepath.Join(dir, "web.yaml"))
	before := get(t, src, "x", "latest").Digest
	base.layers[0] = "another layer"
	base.diffIDs[0] = "sha256:" + sha256Hex([]byte(base.layers[0]))
	replace(t, filepath.Join(dir, "base.tar"), base.archive(t))
	time.Sleep(time.Second) // of the bubble's clock
	if after := get(t, src, "x", "latest").Digest; after == before {
		t.Errorf("the image is %s as before", after)
	}
	os.Remove(filepath.Join(dir, "base.tar"))
	if _, err := src.Inspect(ctx, "x", "latest"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// many is a base image of n layers.
func many(n int) *baseImage {
	b := &baseImage{env: []string{}}
	for i := range n {
		b.layers = append(b.layers, fmt.Sprint("layer ", i))
		b.diffIDs = append(b.diffIDs, "sha256:"+sha256Hex([]byte(b.layers[i])))
	}
	return b
}

// TestTooManyLayers: what no runtime takes is not made, and where no layer is left for store paths that is said.
func TestTooManyLayers(t *testing.T) {
	m, _, _ := withHello()
	for _, c := range []struct {
		base int
		args string
		want string // "" for an image
	}{
		{20, "maxLayers: 22, contents: hello", ""},
		{20, "maxLayers: 21, contents: hello", "maxLayers is 21, and of these the base image takes 20"},
		{20, "maxLayers: 22, contents: hello, root: [tmp]", "root and includeNixDB 1"},
		{20, "maxLayers: 23, contents: hello, root: [tmp]", ""},
		{20, "maxLayers: 3", ""}, // no store paths
		{124, "{}: x", ""},
		{125, "{}: x", "126 layers, 125 of them the base image's"},
		{123, "maxLayers: 200, contents: hello", "126 layers"},
		{122, "maxLayers: 200, contents: hello", ""},
	} {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "base.tar"), many(c.base).archive(t))
		file := filepath.Join(dir, "web.yaml")
		write(t, file, strings.ReplaceAll("{name: x, fromImage: base.tar, "+c.args+"}", ", {}: x", ""))
		_, err := withImages(t, m, file).Inspect(ctx, "x", "latest")
		checked := manifest.Check(ctx, manifest.Config{Stores: []store.Store{m}}, file)
		for when, err := range map[string]error{"asked for": err, "checked": checked} {
			if (err == nil) != (c.want == "") || err != nil && (!errors.Is(err, fs.ErrInvalid) || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%d layers, %s, %s: %v", c.base, c.args, when, err)
			}
		}
	}
}

// TestPulledBase: a base image of a registry is asked for by its name, for the platform of the image; its blobs are
// served by a new process that was told of the file, and it is fetched again when the file has gone.
func TestPulledBase(t *testing.T) {
	m, _, _ := withHello()
	base := newBase()
	dir := t.TempDir()
	name := "docker://example.com/x@sha256:" + strings.Repeat("1", 64)
	file, archive := filepath.Join(dir, "web.yaml"), filepath.Join(dir, "base.tar")
	write(t, file, "[{name: x, fromImage: '"+name+"', architecture: arm, variant: v7}, {name: y, contents: hello, fromImage: '"+name+"'}]")
	var asked []string
	cfg := manifest.Config{
		Stores: []store.Store{m}, Images: []string{file}, Cache: new(digests.Memory),
		Pull: func(_ context.Context, got string, p v1.Platform) (string, error) {
			if got != name {
				t.Errorf("asked for %s", got)
			}
			asked = append(asked, p.OS+"/"+p.Architecture+"/"+p.Variant)
			if _, err := os.Lstat(archive); err != nil {
				write(t, archive, base.archive(t))
			}
			return archive, nil
		},
	}
	src := source(t, cfg)
	var layers []v1.Hash
	for _, name := range []string{"x", "y"} {
		pull(t, src, name, "latest")
		r := inspect(t, src, name, "latest")
		if len(r.Env) == 0 || len(r.Layers) < len(base.layers) {
			t.Errorf("%s: %s, %q", name, layersOf(r), r.Env)
		}
		layers = append(layers, r.Layers[0].Digest)
	}
	if !slices.Contains(asked, "linux/arm/v7") || !slices.Contains(asked, "linux/amd64/") || len(slices.Compact(asked)) != 2 {
		t.Errorf("asked for %v", asked)
	}
	if layers[0] != layers[1] {
		t.Errorf("the two have %v of one base", layers)
	}
	cfg.Files = []string{archive}
	if _, err := source(t, cfg).Blob(t.Context(), "x", layers[0]); err != nil {
		t.Errorf("a new process: %v", err)
	}
	if err := os.Remove(archive); err != nil {
		t.Fatal(err)
	}
	cfg.Files = nil
	pull(t, source(t, cfg), "x", "latest")

	cfg.Pull = nil
	if _, err := source(t, cfg).Inspect(t.Context(), "x", "latest"); !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), "web.yaml:1:") {
		t.Errorf("without Pull: %v", err)
	}
}

func source(t *testing.T, cfg manifest.Config) *manifest.Source {
	t.Helper()
	src, err := manifest.NewSource(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { src.Close() })
	return src
}

// TestLayoutBase: of an OCI layout the layers stay as they are. Where nothing in the image tells its architecture, the
// base does.
func TestLayoutBase(t *testing.T) {
	m, _, _ := withHello()
	base, err := random.Image(2000, 2)
	if err != nil {
		t.Fatal(err)
	}
	config, err := base.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.Architecture, config.OS, config.Config.Env = "arm64", "linux", []string{"A=1"}
	if base, err = mutate.ConfigFile(base, config); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	path, err := layout.Write(filepath.Join(dir, "base"), empty.Index)
	if err == nil {
		err = path.AppendImage(base)
	}
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "web.yaml")
	write(t, file, "{name: x, fromImage: base, config: {Env: [B=2]}}")
	src := withImages(t, m, file)
	doc, _ := pull(t, src, "x", "latest")
	want, err := base.Layers()
	if err != nil || len(doc.Layers) != len(want)+1 {
		t.Fatalf("%d layers, %v", len(doc.Layers), err)
	}
	for i, l := range want {
		if d, err := l.Digest(); err != nil || doc.Layers[i].Digest != d {
			t.Errorf("layer %d is %s, not %s (%v)", i, doc.Layers[i].Digest, d, err)
		}
	}
	r := inspect(t, src, "x", "latest")
	if r.Architecture != "arm64" || !slices.Equal(r.Env, []string{"A=1", "B=2"}) {
		t.Errorf("architecture %s, env %q", r.Architecture, r.Env)
	}
}

// TestBaseAfterRestart: what was recorded of a base image on disk is served by the next process, without a look at the
// tag.
func TestBaseAfterRestart(t *testing.T) {
	m, _, _ := withHello()
	dir := t.TempDir()
	base := newBase()
	write(t, filepath.Join(dir, "base.tar"), base.archive(t))
	file := filepath.Join(dir, "web.yaml")
	write(t, file, "name: x\nfromImage: base.tar\n")
	cache := new(shelf)
	open := func() *manifest.Source {
		src, err := manifest.NewSource(manifest.Config{Stores: []store.Store{m}, Images: []string{file}, Cache: cache})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { src.Close() })
		return src
	}
	doc, _ := pull(t, open(), "x", "latest")
	for _, l := range doc.Layers {
		if err := intact(open(), "x", l.Digest); err != nil {
			t.Errorf("%s: %v", l.Digest, err)
		}
	}
}
