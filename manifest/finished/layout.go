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
	"github.com/nixreg/nixreg/manifest/imagefile"
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

// layoutFiles are the files of an OCI layout, by their names in it.
type layoutFiles interface {
	// read returns a file of at most limit bytes. The error for an absent file matches fs.ErrNotExist.
	read(ctx context.Context, name string, limit int64) ([]byte, error)
	// recipe returns the recipe of a file's bytes.
	recipe(name string) (layer.Recipe, error)
}

// openLayout returns the files of the layout in a directory of o, or in a tar there.
func openLayout(ctx context.Context, m *layer.Maker, o *store.Object, file string, packed bool) (layoutFiles, error) {
	if !packed {
		return directory{m.Store, o, file}, nil
	}
	a, err := m.Archive(ctx, o, file)
	return archived{a}, err
}

type directory struct {
	store  store.Store
	object *store.Object
	dir    string
}

// read makes the error for an absent file the same as that for a link out of the layout: clients must not learn the target of the
// link.
func (d directory) read(ctx context.Context, name string, limit int64) ([]byte, error) {
	name = path.Join(d.dir, name)
	b, err := store.ReadFile(ctx, d.store, d.object.Path, name, limit)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s/%s is not there, or is a link out of the layout: %w", d.object.Path, name, fs.ErrNotExist)
	}
	return b, err
}

func (d directory) recipe(name string) (layer.Recipe, error) {
	return layer.Recipe{Format: layer.Verbatim, Objects: []layer.Ref{layer.RefOf(d.object)}, File: path.Join(d.dir, name)}, nil
}

// archived is a layout in a tar, as podman save --format oci-archive writes it.
type archived struct{ *layer.Archive }

func (a archived) read(ctx context.Context, name string, limit int64) ([]byte, error) {
	if _, err := a.recipe(name); err != nil {
		return nil, err
	}
	return a.Read(ctx, name, limit)
}

func (a archived) recipe(name string) (layer.Recipe, error) {
	r, err := a.Recipe(name)
	if err != nil {
		return r, fmt.Errorf("%s is not in the archive: %w", name, fs.ErrNotExist)
	}
	r.Packed = "" // a digest of a layout is that of the bytes as they are
	return r, nil
}

// IsPackedLayout reports whether an archive has an OCI layout, and is no docker-archive, too.
func IsPackedLayout(a *layer.Archive) bool {
	has := func(name string) bool {
		_, err := a.Recipe(name)
		return err == nil
	}
	return has(oci.LayoutFile) && has(oci.IndexFile) && !has(archiveList)
}

// ReadLayoutIndex returns index.json and the descriptors in it, at least one. packed is as in [Image].
func ReadLayoutIndex(ctx context.Context, m *layer.Maker, o *store.Object, file string, packed bool) ([]byte, []v1.Descriptor, error) {
	files, err := openLayout(ctx, m, o, file, packed)
	if err != nil {
		return nil, nil, err
	}
	b, err := files.read(ctx, oci.IndexFile, oci.MaxManifest)
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

// ArePlatforms reports whether the descriptors of an index.json are one image for several platforms.
func ArePlatforms(list []v1.Descriptor) bool {
	named := func(d v1.Descriptor) bool { return d.Annotations[oci.RefName] != "" || d.Platform == nil }
	return len(list) > 1 && !slices.ContainsFunc(list, named)
}

// IndexedLayout returns the image whose index is the layout's index.json, with the bytes b. packed is as in [Image].
func IndexedLayout(o *store.Object, file string, packed bool, b []byte) *Image {
	root := &v1.Descriptor{MediaType: types.OCIImageIndex, Digest: document.Digest(b), Size: int64(len(b))}
	return &Image{Path: o.Path, File: file, Root: root, Index: true, Packed: packed}
}

// Layout is an image of an OCI layout: its documents, each after those that it names, and its blobs. The digests of the
// documents are verified; the caller verifies those of the blobs. It is recorded as JSON.
type Layout struct {
	Documents []Document   `json:"documents"`
	Blobs     []layoutBlob `json:"blobs"`
	Warnings  []string     `json:"warnings,omitempty"`
	Refused   []string     `json:"refused,omitempty"` // as in [document.Image]
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
	files layoutFiles
	index v1.Hash // the digest of index.json, if that is the root
	blobs []layoutBlob
	seen  map[v1.Hash]bool // of blobs
}

// ReadLayout reads the documents of an image. If the manifests of some platforms are missing, the others are served, with a
// warning.
func ReadLayout(ctx context.Context, m *layer.Maker, o *store.Object, r *Image) (*Layout, error) {
	files, err := openLayout(ctx, m, o, r.File, r.Packed)
	if err != nil {
		return nil, err
	}
	l := layoutReader{files: files, seen: make(map[v1.Hash]bool)}
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
	for i := range documents {
		l.refusals(ctx, out, &documents[i])
	}
	return out, nil
}

// refusals warns of values that clients refuse in the config of an image. A config that cannot be read is met again when it is served.
func (l *layoutReader) refusals(ctx context.Context, out *Layout, doc *Document) {
	c := doc.parsed.Config
	if !doc.IsImage() || c == nil || c.MediaType != types.OCIConfigJSON && c.MediaType != types.DockerConfigJSON {
		return
	}
	b, err := l.files.read(ctx, blobName(c.Digest), MaxBaseDocument)
	if err != nil {
		return
	}
	about, err := ReadConfig(b)
	if err != nil {
		return
	}
	for _, r := range imagefile.Refusals(about.Raw) {
		out.Warnings, out.Refused = append(out.Warnings, r.Text), append(out.Refused, r.Key)
	}
}

func blobName(d v1.Hash) string { return path.Join("blobs", d.Algorithm, d.Hex) }

func (l *layoutReader) read(ctx context.Context, d v1.Descriptor) (doc Document, err error) {
	if err := sha256Only(d.Digest); err != nil {
		return doc, err
	}
	name := blobName(d.Digest)
	if d.Digest == l.index {
		name = oci.IndexFile
	}
	b, err := l.files.read(ctx, name, oci.MaxManifest)
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
		r, err := l.files.recipe(blobName(d.Digest))
		if err != nil {
			return fmt.Errorf("blob %s is not there: %w", d.Digest, err)
		}
		l.blobs = append(l.blobs, layoutBlob{d.Digest, d.Size, r})
	}
	return nil
}

func sha256Only(d v1.Hash) error {
	if d.Algorithm != "sha256" {
		return fmt.Errorf("digest %s: only sha256 is served: %w", d, errors.ErrUnsupported)
	}
	return nil
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
		if b.Recipe.Format == layer.Member {
			if b.Recipe.Size != b.Size {
				problems = append(problems, fmt.Errorf("blob %s has %d bytes, not %d: %w", b.Digest, b.Recipe.Size, b.Size, fs.ErrInvalid))
			}
			continue
		}
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
