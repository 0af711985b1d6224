// Package export writes an image in the forms that other tools take: a docker-archive, an OCI layout, a push to a registry.
//
// It owns those forms, which image of an index is taken, and the syntax of destinations. It must not know where images
// come from, nor terminals: an [Image] is read through a [Repository].
//
//	img, err := export.Open(ctx, repository, descriptor, platform)
//	err = img.WriteLayout(ctx, dir, "latest", progress)
package export

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/nixreg/nixreg/internal/oci"
	"github.com/nixreg/nixreg/internal/oci/listing"
)

const maxConfig = 8 << 20 // bytes

// Blob is the bytes behind a digest.
type Blob = oci.Blob

// Repository is where an image comes from. What it does not have is an error matching [fs.ErrNotExist]. Safe for
// concurrent use.
type Repository interface {
	// Manifest returns a manifest or an index, its bytes in Data.
	Manifest(ctx context.Context, digest v1.Hash) (*v1.Descriptor, error)
	Blob(ctx context.Context, digest v1.Hash) (Blob, error)
}

// Progress is told how many of how many bytes are written, often, and never twice at the same time. It may be nil.
type Progress func(done, total int64)

// Image is what is exported: the image of one platform, or an index with all that it names. Safe for concurrent use.
type Image struct {
	repository Repository
	documents  []*document // what an index names stands before it
	missing    []v1.Hash
}

// document is a manifest or an index.
type document struct {
	desc     v1.Descriptor
	index    *v1.IndexManifest // of an index
	manifest *v1.Manifest      // of an image
}

// top is the document that stands for the whole.
func (img *Image) top() *document { return img.documents[len(img.documents)-1] }

// Digest is that of the manifest or index, as the repository has it.
func (img *Image) Digest() v1.Hash { return img.top().desc.Digest }

// Config is the digest of the image's config; zero for an index.
func (img *Image) Config() v1.Hash {
	if img.top().manifest == nil {
		return v1.Hash{}
	}
	return img.top().manifest.Config.Digest
}

// Missing are the manifests that an index names and the repository has not, such as those of platforms that were left out
// when the image was copied. [Image.WriteLayout] leaves them out, too; a registry refuses such an index.
func (img *Image) Missing() []v1.Hash { return img.missing }

// OpenAll reads what top stands for, of an index all images that the repository has: see [Image.Missing]. If it has none,
// the error matches [fs.ErrNotExist]; if there are too many, [errors.ErrUnsupported].
func OpenAll(ctx context.Context, r Repository, top *v1.Descriptor) (*Image, error) {
	documents, missing, err := listing.Walk(*top, func(d v1.Descriptor) (*document, []v1.Descriptor, error) {
		if d.Digest == top.Digest {
			return parseDocument(*top)
		}
		read, err := r.Manifest(ctx, d.Digest)
		if err != nil {
			return nil, nil, err
		}
		return parseDocument(*read)
	})
	if err != nil {
		return nil, err
	}
	return &Image{r, documents, missing}, nil
}

// Open reads what top stands for, of an index the image for a platform; see [Platform] for the zero one. An image for another platform only gives an error matching [fs.ErrNotExist].
func Open(ctx context.Context, r Repository, top *v1.Descriptor, want Platform) (*Image, error) {
	if !top.MediaType.IsIndex() {
		img, err := OpenAll(ctx, r, top)
		if err == nil && want != (Platform{}) {
			err = img.is(ctx, want)
		}
		if err != nil {
			return nil, err
		}
		return img, nil
	}
	_, list, err := parseDocument(*top)
	if err != nil {
		return nil, err
	}
	child, err := choose(list, want)
	if err != nil {
		return nil, fmt.Errorf("index %s: %w", top.Digest, err)
	}
	desc, err := r.Manifest(ctx, child.Digest)
	if err != nil {
		return nil, err
	}
	return OpenAll(ctx, r, desc)
}

// parseDocument also returns the descriptors that an index lists.
func parseDocument(desc v1.Descriptor) (doc *document, list []v1.Descriptor, err error) {
	doc = &document{desc: desc}
	if !desc.MediaType.IsIndex() {
		if doc.manifest, err = v1.ParseManifest(bytes.NewReader(desc.Data)); err != nil {
			return nil, nil, fmt.Errorf("manifest %s: %w: %w", desc.Digest, err, fs.ErrInvalid)
		}
		return doc, nil, nil
	}
	if doc.index, err = v1.ParseIndexManifest(bytes.NewReader(desc.Data)); err != nil {
		return nil, nil, fmt.Errorf("index %s: %w: %w", desc.Digest, err, fs.ErrInvalid)
	}
	return doc, doc.index.Manifests, nil
}

// blobs are the config and the layers of a manifest.
func (d *document) blobs() []v1.Descriptor {
	if d.manifest == nil {
		return nil
	}
	return append([]v1.Descriptor{d.manifest.Config}, d.manifest.Layers...)
}

// size is how many bytes of blobs and documents there are, each once.
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

func (doc *document) config(ctx context.Context, r Repository) ([]byte, error) {
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
	if got := hexSHA256(buf.Bytes()); got != d.Hex {
		return nil, fmt.Errorf("config %s has the bytes of sha256:%s: %w", d, got, fs.ErrInvalid)
	}
	return buf.Bytes(), nil
}

func hexSHA256(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
