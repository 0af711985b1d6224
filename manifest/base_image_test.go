package manifest_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nixreg/nixreg/store/storetest"
)

// baseImage is a docker-archive whose documents and layers a test may spoil.
type baseImage struct {
	layers  []string // their bytes
	diffIDs []string
	env     any
	zip     bool
}

func newBase() *baseImage {
	b := &baseImage{layers: []string{"base layer one", strings.Repeat("two ", 5000)}, env: []string{"PATH=/base", "A=1"}}
	for _, l := range b.layers {
		b.diffIDs = append(b.diffIDs, "sha256:"+sha256Hex([]byte(l)))
	}
	return b
}

func (b *baseImage) archive(t *testing.T) string {
	t.Helper()
	var out bytes.Buffer
	tw := tar.NewWriter(&out)
	add := func(name, data string) {
		if err := tw.WriteHeader(&tar.Header{Name: name, Size: int64(len(data)), Mode: 0o644}); err != nil {
			t.Fatal(err)
		}
		if _, err := tw.Write([]byte(data)); err != nil {
			t.Fatal(err)
		}
	}
	var names []string
	for i, l := range b.layers {
		names = append(names, string(rune('a'+i))+"/layer.tar")
		add(names[i], l)
	}
	add("config.json", encode(t, map[string]any{
		"config": map[string]any{"Env": b.env, "Cmd": []string{"/base"}}, "rootfs": map[string]any{"diff_ids": b.diffIDs},
	}))
	add("manifest.json", encode(t, []any{map[string]any{"Config": "config.json", "Layers": names}}))
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	if !b.zip {
		return out.String()
	}
	var z bytes.Buffer
	zw := gzip.NewWriter(&z)
	zw.Write(out.Bytes())
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	return z.String()
}

func encode(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// upon puts an image x upon the base into a directory.
func (b *baseImage) upon(t *testing.T, m *storetest.Memory) (dir string) {
	t.Helper()
	p := m.Add("base.tar", storetest.Files{"": storetest.File(b.archive(t))})
	dir = t.TempDir()
	write(t, filepath.Join(dir, "x.json"), confText(t, m, map[string]any{
		"from_image": p.Abs(), "config": map[string]any{"Env": []string{"B=2", "PATH=/own"}},
	}))
	return dir
}

// TestBaseImage: the base's layers come first, of its config only Env counts, and where both have a name the image's own
// value stands in the base's place.
func TestBaseImage(t *testing.T) {
	for name, zip := range map[string]bool{"plain": false, "gzip": true} {
		t.Run(name, func(t *testing.T) {
			m := storetest.New()
			base := newBase()
			base.zip = zip
			src := newSource(t, base.upon(t, m), m)
			doc, config := pull(t, src, "x", "latest")
			var got []string
			for _, l := range doc.Layers {
				got = append(got, l.Digest.String())
			}
			if want := append(base.diffIDs, "sha256:"+sha256Hex([]byte("customisation"))); !slices.Equal(got, want) {
				t.Errorf("layers are %v, not %v", got, want)
			}
			r := inspect(t, src, "x", "latest")
			if want := []string{"PATH=/own", "A=1", "B=2"}; !slices.Equal(r.Env, want) || len(r.Command) != 0 {
				t.Errorf("env is %q, not %q; command %q", r.Env, want, r.Command)
			}
			if !bytes.Contains(config, []byte("store paths: ['a/layer.tar']")) {
				t.Errorf("config is %s", config)
			}
		})
	}
}

// TestBrokenBaseImage: what a base image says of itself must be true.
func TestBrokenBaseImage(t *testing.T) {
	for name, spoil := range map[string]func(b *baseImage){
		"more layers":   func(b *baseImage) { b.diffIDs = b.diffIDs[:1] },
		"more diff_ids": func(b *baseImage) { b.diffIDs = append(b.diffIDs, b.diffIDs[0]) },
		"other bytes":   func(b *baseImage) { b.layers[1] += "x" },
		"other order":   func(b *baseImage) { slices.Reverse(b.layers) },
		"Env of lists":  func(b *baseImage) { b.env = []any{[]string{"A=1"}} },
	} {
		m := storetest.New()
		base := newBase()
		spoil(base)
		if _, err := newSource(t, base.upon(t, m), m).Inspect(ctx, "x", "latest"); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
