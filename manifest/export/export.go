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
	"errors"
	"fmt"
	"io"
	"io/fs"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Bounds of what a repository may name: images come from outside, too.
const (
	maxConfig    = 8 << 20 // bytes
	maxDocuments = 1000    // of an index, and of the indexes in it
	maxDepth     = 4
)

// Blob is the bytes behind a digest.
type Blob interface {
	Size() int64
	WriteRange(ctx context.Context, w io.Writer, off, n int64) error
}

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
	top        *document
}

// document is a manifest or an index, and what it names.
type document struct {
	desc     v1.Descriptor
	index    *v1.IndexManifest // of an index
	children []*document       // of an index, in its order
	missing  []v1.Hash         // of an index, what it names beside
	manifest *v1.Manifest      // of an image
}

// Digest is that of the manifest or index, as the repository has it.
func (img *Image) Digest() v1.Hash { return img.top.desc.Digest }

// Config is the digest of the image's config; zero for an index.
func (img *Image) Config() v1.Hash {
	if img.top.manifest == nil {
		return v1.Hash{}
	}
	return img.top.manifest.Config.Digest
}

// Missing are the manifests that an index names and the repository has not, such as those of platforms that were left out
// when the image was copied. [Image.WriteLayout] leaves them out, too; a registry refuses such an index.
func (img *Image) Missing() []v1.Hash {
	var out []v1.Hash
	_ = img.top.each(func(d *document) error {
		out = append(out, d.missing...)
		return nil
	})
	return out
}

// OpenAll reads what top stands for, of an index all images that the repository has: see [Image.Missing]. If it has none,
// the error matches [fs.ErrNotExist].
func OpenAll(ctx context.Context, r Repository, top *v1.Descriptor) (*Image, error) {
	left := maxDocuments
	doc, err := readDocument(ctx, r, top, maxDepth, &left)
	if err != nil {
		return nil, err
	}
	return &Image{repository: r, top: doc}, nil
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
	index, err := v1.ParseIndexManifest(bytes.NewReader(top.Data))
	if err != nil {
		return nil, fmt.Errorf("index %s: %w: %w", top.Digest, err, fs.ErrInvalid)
	}
	child, err := choose(index.Manifests, want)
	if err != nil {
		return nil, fmt.Errorf("index %s: %w", top.Digest, err)
	}
	desc, err := r.Manifest(ctx, child.Digest)
	if err != nil {
		return nil, err
	}
	return OpenAll(ctx, r, desc)
}

func readDocument(ctx context.Context, r Repository, desc *v1.Descriptor, depth int, left *int) (doc *document, err error) {
	if *left--; *left < 0 || depth == 0 {
		return nil, fmt.Errorf("more than %d manifests, or indexes in %d others: %w", maxDocuments, maxDepth, fs.ErrInvalid)
	}
	doc = &document{desc: *desc}
	if !desc.MediaType.IsIndex() {
		if doc.manifest, err = v1.ParseManifest(bytes.NewReader(desc.Data)); err != nil {
			return nil, fmt.Errorf("manifest %s: %w: %w", desc.Digest, err, fs.ErrInvalid)
		}
		return doc, nil
	}
	if doc.index, err = v1.ParseIndexManifest(bytes.NewReader(desc.Data)); err != nil {
		return nil, fmt.Errorf("index %s: %w: %w", desc.Digest, err, fs.ErrInvalid)
	}
	for i, child := range doc.index.Manifests {
		d, err := r.Manifest(ctx, child.Digest)
		last := i == len(doc.index.Manifests)-1
		if errors.Is(err, fs.ErrNotExist) && (!last || len(doc.children) > 0) {
			doc.missing = append(doc.missing, child.Digest)
			continue
		}
		if err != nil {
			return nil, err
		}
		c, err := readDocument(ctx, r, d, depth-1, left)
		if err != nil {
			return nil, err
		}
		doc.children = append(doc.children, c)
	}
	return doc, nil
}

// each calls f for a document and all below it, what is named before what names it.
func (d *document) each(f func(*document) error) error {
	for _, c := range d.children {
		if err := c.each(f); err != nil {
			return err
		}
	}
	return f(d)
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
	_ = img.top.each(func(d *document) error {
		seen[d.desc.Digest] = d.desc.Size
		for _, b := range d.blobs() {
			seen[b.Digest] = b.Size
		}
		return nil
	})
	total := int64(0)
	for _, n := range seen {
		total += n
	}
	return total
}

// config reads the config of an image, and verifies it.
func (img *Image) config(ctx context.Context) ([]byte, error) {
	d := img.top.manifest.Config.Digest
	b, err := img.repository.Blob(ctx, d)
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
