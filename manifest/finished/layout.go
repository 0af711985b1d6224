package finished

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/nixreg/nixreg/internal/oci"
	"github.com/nixreg/nixreg/internal/oci/listing"
	"github.com/nixreg/nixreg/manifest/dockertools"
	"github.com/nixreg/nixreg/manifest/document"
	"github.com/nixreg/nixreg/manifest/layer"
	"github.com/nixreg/nixreg/store"
)

// IsLayout reports whether a directory of a store path is an OCI layout.
func IsLayout(ctx context.Context, s store.Store, p store.Path, dir string) (bool, error) {
	for _, base := range []string{oci.LayoutFile, oci.IndexFile} {
		_, nd, err := store.Resolve(ctx, s, path.Join(p.Abs(), dir, base))
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
		if err != nil || nd.Kind != store.Regular {
			return false, err
		}
	}
	return true, nil
}

// ReadLayoutIndex returns index.json and the descriptors in it, at least one.
func ReadLayoutIndex(ctx context.Context, s store.Store, o *store.Object, dir string) ([]byte, []v1.Descriptor, error) {
	b, err := readLayoutFile(ctx, s, o, path.Join(dir, oci.IndexFile), oci.MaxManifest)
	if err != nil {
		return nil, nil, err
	}
	var index struct{ Manifests []v1.Descriptor }
	if err := json.Unmarshal(b, &index); err != nil {
		return nil, nil, fmt.Errorf("%s: %w: %w", oci.IndexFile, err, fs.ErrInvalid)
	}
	if len(index.Manifests) == 0 {
		return nil, nil, fmt.Errorf("%s lists no image: %w", oci.IndexFile, fs.ErrInvalid)
	}
	if len(index.Manifests) > listing.MaxDocuments {
		return nil, nil, fmt.Errorf("%s lists %d images: %w", oci.IndexFile, len(index.Manifests), errors.ErrUnsupported)
	}
	return b, index.Manifests, nil
}

// readLayoutFile reads a small file. Its error for an absent file is the same as that for a link out of the layout: clients
// must not learn the target of the link.
func readLayoutFile(ctx context.Context, s store.Store, o *store.Object, name string, limit int64) ([]byte, error) {
	b, err := store.ReadFile(ctx, s, o.Path, name, limit)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s/%s is not there, or is a link out of the layout: %w", o.Path, name, fs.ErrNotExist)
	}
	return b, err
}

// ArePlatforms reports whether the descriptors of an index.json are one image for several platforms.
func ArePlatforms(list []v1.Descriptor) bool {
	named := func(d v1.Descriptor) bool { return d.Annotations[oci.RefName] != "" || d.Platform == nil }
	return len(list) > 1 && !slices.ContainsFunc(list, named)
}

// IndexedLayout returns the image whose index is the layout's index.json, with the bytes b.
func IndexedLayout(o *store.Object, dir string, b []byte) *Image {
	root := &v1.Descriptor{MediaType: types.OCIImageIndex, Digest: document.Digest(b), Size: int64(len(b))}
	return &Image{Path: o.Path, File: dir, Root: root, Index: true}
}

// Layout is an image of an OCI layout: its documents, each after those that it names, and its blobs. The digests of the
// documents are verified; the caller verifies those of the blobs. It is recorded as JSON.
type Layout struct {
	Documents []Document   `json:"documents"`
	Blobs     []layoutBlob `json:"blobs"`
	Warnings  []string     `json:"warnings,omitempty"`
}

type Document struct {
	MediaType types.MediaType `json:"mediaType"`
	Digest    v1.Hash         `json:"digest"`
	Size      int64           `json:"size"`
	Platform  *v1.Platform    `json:"platform,omitempty"`
	data      []byte
	parsed    ManifestFields
}

func (d *Document) Descriptor() *v1.Descriptor {
	return &v1.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size, Data: d.data}
}

// IsImage reports whether it is the manifest of an image: neither an index nor an attestation, which has no platform.
func (d *Document) IsImage() bool {
	return !d.MediaType.IsIndex() && (d.Platform == nil || d.Platform.OS != "unknown")
}

type layoutBlob struct {
	Digest v1.Hash      `json:"digest"`
	Size   int64        `json:"size"`
	Recipe layer.Recipe `json:"recipe"`
}

// ManifestFields has the fields of manifests and of indexes.
type ManifestFields struct {
	MediaType types.MediaType
	Config    *v1.Descriptor
	Layers    []v1.Descriptor
	Manifests []v1.Descriptor
}

// layoutReader reads the documents of an image, and finds their blobs.
type layoutReader struct {
	store  store.Store
	object *store.Object
	dir    string
	index  v1.Hash // the digest of index.json, if that is the root
	blobs  []layoutBlob
	seen   map[v1.Hash]bool // of blobs
}

// ReadLayout reads the documents of an image. If the manifests of some platforms are missing, the others are served, with a
// warning.
func ReadLayout(ctx context.Context, s store.Store, o *store.Object, r *Image) (*Layout, error) {
	l := layoutReader{store: s, object: o, dir: r.File, seen: make(map[v1.Hash]bool)}
	if r.Index {
		l.index = r.Root.Digest
	}
	documents, missing, err := listing.Walk(*r.Root, func(d v1.Descriptor) (doc Document, list []v1.Descriptor, err error) {
		if doc, err = l.read(ctx, d); err != nil {
			return doc, nil, err
		}
		if doc.MediaType.IsIndex() {
			return doc, doc.parsed.Manifests, nil
		}
		return doc, nil, l.addBlobs(&doc)
	})
	if err != nil {
		return nil, err
	}
	out := &Layout{Documents: documents, Blobs: l.blobs}
	for _, d := range missing {
		out.Warnings = append(out.Warnings, fmt.Sprintf("manifest %s is not in the layout", d))
	}
	return out, nil
}

func (l *layoutReader) file(d v1.Hash) string { return path.Join(l.dir, "blobs", d.Algorithm, d.Hex) }

func (l *layoutReader) read(ctx context.Context, d v1.Descriptor) (doc Document, err error) {
	if err := sha256Only(d.Digest); err != nil {
		return doc, err
	}
	name := l.file(d.Digest)
	if d.Digest == l.index {
		name = path.Join(l.dir, oci.IndexFile)
	}
	b, err := readLayoutFile(ctx, l.store, l.object, name, oci.MaxManifest)
	if err != nil {
		return doc, err
	}
	if document.Digest(b) != d.Digest {
		return doc, fmt.Errorf("%s has the bytes of %s: %w", d.Digest, document.Digest(b), fs.ErrInvalid)
	}
	if int64(len(b)) != d.Size {
		return doc, fmt.Errorf("%s has %d bytes, not %d: %w", d.Digest, len(b), d.Size, fs.ErrInvalid)
	}
	doc = Document{MediaType: d.MediaType, Digest: d.Digest, Size: int64(len(b)), Platform: d.Platform, data: b}
	if err := json.Unmarshal(b, &doc.parsed); err != nil {
		return doc, fmt.Errorf("%s: %w: %w", d.Digest, err, fs.ErrInvalid)
	}
	if doc.MediaType == "" {
		doc.MediaType = doc.parsed.MediaType
	}
	if doc.MediaType == "" {
		return doc, fmt.Errorf("%s has no media type: %w", d.Digest, fs.ErrInvalid)
	}
	if own := doc.parsed.MediaType; own != "" && own != doc.MediaType {
		return doc, fmt.Errorf("%s is of type %.100q, not %.100q: %w", d.Digest, own, doc.MediaType, fs.ErrInvalid)
	}
	return doc, nil
}

func (l *layoutReader) addBlobs(doc *Document) error {
	list := doc.parsed.Layers
	if doc.parsed.Config != nil {
		list = append([]v1.Descriptor{*doc.parsed.Config}, list...)
	}
	if len(list) > dockertools.MaxLayersOfConf {
		return fmt.Errorf("manifest %s has %d layers: %w", doc.Digest, len(list), errors.ErrUnsupported)
	}
	for _, d := range list {
		if l.seen[d.Digest] || len(d.URLs) > 0 { // clients download these from other places
			continue
		}
		l.seen[d.Digest] = true
		if err := sha256Only(d.Digest); err != nil {
			return err
		}
		l.blobs = append(l.blobs, layoutBlob{d.Digest, d.Size, l.recipe(d.Digest)})
	}
	return nil
}

func sha256Only(d v1.Hash) error {
	if d.Algorithm != "sha256" {
		return fmt.Errorf("digest %s: only sha256 is served: %w", d, errors.ErrUnsupported)
	}
	return nil
}

func (l *layoutReader) recipe(d v1.Hash) layer.Recipe {
	return layer.Recipe{Format: layer.Verbatim, Objects: []layer.Ref{layer.RefOf(l.object)}, File: l.file(d)}
}

// Manifest returns the manifest for an architecture, else the first one; nil if there is none. The order decides between
// operating systems, Windows included: another rule would change digests that clients have.
func (l *Layout) Manifest(arch string) *Document {
	var images []*Document
	for i := range l.Documents {
		if d := &l.Documents[i]; d.IsImage() {
			images = append(images, d)
		}
	}
	if len(images) == 0 {
		return nil
	}
	d, err := oci.Choose(images, func(d *Document) oci.Platform { return listing.PlatformOf(d.Platform) }, oci.AnySystem(arch))
	if err != nil {
		return images[0]
	}
	return d
}

// Present checks that the blobs exist with the right size. It does not hash them.
func (l *Layout) Present(ctx context.Context, s store.Store, o *store.Object) error {
	var problems []error
	for _, b := range l.Blobs {
		_, nd, err := store.Resolve(ctx, s, path.Join(o.Path.Abs(), b.Recipe.File))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			err = fmt.Errorf("blob %s is not there, or is a link out of the layout: %w", b.Digest, fs.ErrNotExist)
		case err == nil && (nd.Kind != store.Regular || nd.Size != b.Size):
			err = fmt.Errorf("blob %s has %d bytes, not %d: %w", b.Digest, nd.Size, b.Size, fs.ErrInvalid)
		}
		problems = append(problems, err)
	}
	return errors.Join(problems...)
}

// Root returns the document of the tag.
func (l *Layout) Root() *Document { return &l.Documents[len(l.Documents)-1] }
