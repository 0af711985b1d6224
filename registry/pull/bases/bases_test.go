package bases

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/nixreg/nixreg/registry"
	"github.com/nixreg/nixreg/registry/dockerarchive"
	"github.com/nixreg/nixreg/registry/pull"
)

// TestVerify: every damage to what is kept is seen: to a layer, to the config, to the end.
func TestVerify(t *testing.T) {
	var b bytes.Buffer
	if err := dockerarchive.Write(t.Context(), &b, dockerarchive.Image{Name: "a", Tag: "b", Config: []byte(`{"os":"linux"}`)}); err != nil {
		t.Fatal(err)
	}
	whole := b.Bytes()
	verify := func(ctx context.Context, b []byte) error { return Verify(ctx, bytes.NewReader(b)) }
	if err := verify(t.Context(), whole); err != nil {
		t.Errorf("a whole one: %v", err)
	}
	for name, b := range map[string][]byte{
		"config": bytes.Replace(whole, []byte(`"linux"`), []byte(`"linus"`), 1),
		"list":   bytes.Replace(whole, []byte(`"Config":"`), []byte(`"Config":"0`), 1),
		"key":    bytes.Replace(whole, []byte(`"Layers"`), []byte(`"Layerz"`), 1),
		"empty":  nil,
		"cut":    whole[:700],
		"no end": whole[:1024],
		"zeroes": make([]byte, len(whole)),
	} {
		if err := verify(t.Context(), b); err == nil {
			t.Errorf("%s: taken for whole", name)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := verify(ctx, whole); !errors.Is(err, context.Canceled) {
		t.Errorf("after the context ended: %v", err)
	}
}

// registryOf is a registry with one image of no layers.
type registryOf struct {
	blobs map[v1.Hash][]byte
	calls atomic.Int32
}

func (r *registryOf) add(b []byte) v1.Hash {
	h, _, _ := v1.SHA256(bytes.NewReader(b))
	r.blobs[h] = b
	return h
}

func (r *registryOf) Manifest(_ context.Context, _, ref string, _ ...types.MediaType) (*v1.Descriptor, error) {
	r.calls.Add(1)
	h, err := v1.NewHash(ref)
	if err != nil || r.blobs[h] == nil {
		return nil, fs.ErrNotExist
	}
	return &v1.Descriptor{MediaType: types.OCIManifestSchema1, Digest: h, Size: int64(len(r.blobs[h])), Data: r.blobs[h]}, nil
}

func (r *registryOf) Blob(_ context.Context, _ string, h v1.Hash) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(r.blobs[h])), nil
}

// A base image is downloaded once, also by another process, and again if its file is damaged. Prune removes it.
func TestPull(t *testing.T) {
	up, dir := &registryOf{blobs: make(map[v1.Hash][]byte)}, t.TempDir()
	config := []byte(`{"os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":[]}}`)
	manifest := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":%q,"digest":%q,"size":%d},"layers":[]}`,
		types.OCIManifestSchema1, types.OCIConfigJSON, up.add(config), len(config))
	image := "docker://registry.example/base@" + up.add([]byte(manifest)).String()
	if err := os.WriteFile(filepath.Join(dir, ".nixreg-layer-1"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	open := func() *Cache {
		c, err := Open(Options{Dir: dir, Upstream: func(string) (pull.Upstream, error) { return up, nil }})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	c := open()
	platform := v1.Platform{OS: "linux", Architecture: "amd64"}
	for i, harm := range []func(file string) error{nil, nil, func(file string) error { return os.Truncate(file, 700) }} {
		if files, err := Kept(dir); harm != nil && (err != nil || len(files) != 1 || harm(files[0]) != nil) {
			t.Fatal(files, err)
		}
		var all sync.WaitGroup
		for range 5 {
			all.Go(func() {
				file, err := c.Pull(t.Context(), image, platform)
				if err != nil {
					t.Error(err)
					return
				}
				b, err := os.ReadFile(file)
				if err := errors.Join(err, Verify(t.Context(), bytes.NewReader(b))); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if n := up.calls.Swap(0); (n == 0) != (i == 1) {
			t.Errorf("%d: %d requests", i, n)
		}
		c.Close()
		c = open()
	}
	if err := c.Prune([]string{image}); err != nil {
		t.Error(err)
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 1 {
		t.Errorf("%v, %v", files, err)
	}
	if err := c.Prune(nil); err != nil {
		t.Error(err)
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 0 {
		t.Errorf("%v, %v", files, err)
	}
	var status *registry.StatusError
	if _, err := c.Pull(t.Context(), "docker://registry.example/base@sha256:"+strings.Repeat("a", 64), platform); !errors.As(err, &status) || errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}
