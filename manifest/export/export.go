// Package export writes an image to a docker-archive, to an OCI layout, or to a registry.
//
// It owns these three formats, the choice of an image from an index, and the syntax of destinations. It must not know how
// images are made, nor terminals: it reads an [Image] through a [Repository].
//
//	img, err := export.Open(ctx, repository, descriptor, platform)
//	err = img.WriteLayout(ctx, dir, "latest", progress)
package export

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/nixreg/nixreg/internal/oci"
)

const maxConfig = 8 << 20 // bytes

// Blob is the bytes of a digest.
type Blob = oci.Blob

// Repository is the source of an image. For a digest that it does not have, the error matches [fs.ErrNotExist]. Safe for
// concurrent use.
type Repository interface {
	// Manifest returns a manifest or an index, its bytes in Data.
	Manifest(ctx context.Context, digest v1.Hash) (*v1.Descriptor, error)
	Blob(ctx context.Context, digest v1.Hash) (Blob, error)
}

// Progress receives the bytes written so far and the bytes to write. Calls are frequent, and never concurrent. It may be nil.
type Progress func(done, total int64)

// Image is the image of one platform, or an index with all images that it lists. Safe for concurrent use.
type Image struct {
	repository Repository
	documents  []*entry // the documents of an index stand before it
	missing    []v1.Hash
}

// entry is a manifest or an index.
type entry struct {
	desc     v1.Descriptor
	index    *v1.IndexManifest // nil for an image
	manifest *v1.Manifest      // nil for an index
}

// top is the document of the whole image.
func (img *Image) top() *entry { return img.documents[len(img.documents)-1] }

// Digest returns the digest of the manifest or index in the repository.
func (img *Image) Digest() v1.Hash { return img.top().desc.Digest }

// Config returns the digest of the image's config. It is zero for an index.
func (img *Image) Config() v1.Hash {
	if img.top().manifest == nil {
		return v1.Hash{}
	}
	return img.top().manifest.Config.Digest
}

// Missing returns the manifests that the index lists and the repository does not have. Tools that copy only some platforms
// leave such an index behind. [Image.WriteLayout] skips these manifests. Registries refuse such an index.
func (img *Image) Missing() []v1.Hash { return img.missing }

// blobs returns the config and the layers of a manifest.
func (d *entry) blobs() []v1.Descriptor {
	if d.manifest == nil {
		return nil
	}
	return append([]v1.Descriptor{d.manifest.Config}, d.manifest.Layers...)
}

// size returns the bytes of all blobs and documents, each counted once.
func (img *Image) size() int64 {
	seen := make(map[v1.Hash]int64)
	for _, d := range img.documents {
		seen[d.desc.Digest] = d.desc.Size
		for _, b := range d.blobs() {
			seen[b.Digest] = b.Size
		}
	}
	total := int64(0)
	for _, n := range seen {
		total += n
	}
	return total
}

// config reads the config of an image, and verifies it.
func (img *Image) config(ctx context.Context) ([]byte, error) {
	return img.top().config(ctx, img.repository)
}

func (doc *entry) config(ctx context.Context, r Repository) ([]byte, error) {
	d := doc.manifest.Config.Digest
	b, err := r.Blob(ctx, d)
	if err != nil {
		return nil, err
	}
	if b.Size() > maxConfig {
		return nil, fmt.Errorf("config %s has %d bytes, at most %d are read: %w", d, b.Size(), maxConfig, fs.ErrInvalid)
	}
	var buf bytes.Buffer
	if err := b.WriteRange(ctx, &buf, 0, b.Size()); err != nil {
		return nil, err
	}
	got, _, err := v1.SHA256(bytes.NewReader(buf.Bytes()))
	if err != nil {
		return nil, err
	}
	if got != d {
		return nil, fmt.Errorf("config %s has the bytes of %s: %w", d, got, fs.ErrInvalid)
	}
	return buf.Bytes(), nil
}
