package export

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"sync"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/zstd"

	"github.com/nixreg/nixreg/internal/oci"
)

// memory is a repository in memory.
type memory struct {
	blobs     map[v1.Hash]oci.Bytes
	documents map[v1.Hash]*v1.Descriptor

	mu    sync.Mutex
	asked []v1.Hash // the blobs that were asked for
}

func newMemory() *memory {
	return &memory{blobs: make(map[v1.Hash]oci.Bytes), documents: make(map[v1.Hash]*v1.Descriptor)}
}

func (m *memory) Manifest(_ context.Context, d v1.Hash) (*v1.Descriptor, error) {
	if desc, ok := m.documents[d]; ok {
		return desc, nil
	}
	return nil, fmt.Errorf("manifest %s: %w", d, fs.ErrNotExist)
}

func (m *memory) Blob(_ context.Context, d v1.Hash) (Blob, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked = append(m.asked, d)
	if b, ok := m.blobs[d]; ok {
		return b, nil
	}
	return nil, fmt.Errorf("blob %s: %w", d, fs.ErrNotExist)
}

func hashOf(b []byte) v1.Hash { return v1.Hash{Algorithm: "sha256", Hex: hexSHA256(b)} }

// part is a layer: its bytes as they are served, and uncompressed.
type part struct {
	mediaType     types.MediaType
	served, plain []byte
}

func plain(s string) part { return part{types.OCIUncompressedLayer, []byte(s), []byte(s)} }

func gzipped(t testing.TB, s string) part {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := io.WriteString(z, s); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return part{types.OCILayer, b.Bytes(), []byte(s)}
}

func zstded(t testing.TB, s string) part {
	t.Helper()
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	return part{types.OCILayerZStd, z.EncodeAll([]byte(s), nil), []byte(s)}
}

// add adds an image for an architecture.
func (m *memory) add(t testing.TB, arch string, parts ...part) *v1.Descriptor {
	t.Helper()
	ids := []v1.Hash{}
	manifest := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Layers: []v1.Descriptor{}}
	for _, p := range parts {
		ids = append(ids, hashOf(p.plain))
		manifest.Layers = append(manifest.Layers, m.blob(p.mediaType, p.served))
	}
	config, err := json.Marshal(map[string]any{
		"os": "linux", "architecture": arch, "rootfs": map[string]any{"type": "layers", "diff_ids": ids},
	})
	if err != nil {
		t.Fatal(err)
	}
	manifest.Config = m.blob(types.OCIConfigJSON, config)
	return m.document(t, manifest.MediaType, manifest)
}

// index adds an index of images for these architectures.
func (m *memory) index(t testing.TB, images map[string]*v1.Descriptor, order ...string) *v1.Descriptor {
	t.Helper()
	index := v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex}
	for _, arch := range order {
		d := *images[arch]
		d.Data, d.Platform = nil, &v1.Platform{OS: "linux", Architecture: arch}
		index.Manifests = append(index.Manifests, d)
	}
	return m.document(t, index.MediaType, index)
}

func (m *memory) blob(mt types.MediaType, b []byte) v1.Descriptor {
	m.blobs[hashOf(b)] = b
	return v1.Descriptor{MediaType: mt, Digest: hashOf(b), Size: int64(len(b))}
}

func (m *memory) document(t testing.TB, mt types.MediaType, doc any) *v1.Descriptor {
	t.Helper()
	b, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	d := &v1.Descriptor{MediaType: mt, Digest: hashOf(b), Size: int64(len(b)), Data: b}
	m.documents[d.Digest] = d
	return d
}

func open(t testing.TB, m *memory, top *v1.Descriptor) *Image {
	t.Helper()
	img, err := OpenAll(t.Context(), m, top)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// twoPlatforms is a repository with an index.
func twoPlatforms(t testing.TB) (*memory, *v1.Descriptor) {
	t.Helper()
	m := newMemory()
	images := map[string]*v1.Descriptor{
		"amd64": m.add(t, "amd64", plain("shared"), plain("for amd64")),
		"arm64": m.add(t, "arm64", plain("shared"), plain("for arm64")),
	}
	return m, m.index(t, images, "amd64", "arm64")
}

func hexSHA256(b []byte) string { return fmt.Sprintf("%x", sha256.Sum256(b)) }
