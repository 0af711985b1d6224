package manifest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/nixreg/nixreg/internal/kv"
	"github.com/nixreg/nixreg/manifest/digests"
	"github.com/nixreg/nixreg/manifest/document"
	"github.com/nixreg/nixreg/manifest/fault"
	"github.com/nixreg/nixreg/manifest/layer"
)

// records are the facts in the cache:
//
//	layer/<recipe>          its digest and size (package layer)
//	blob/<digest>           what makes it: a recipe, or the bytes themselves
//	manifest/<digest>       its media type and bytes, and whose image it is
//	link/<repo>/<digest>    the repository has this blob or manifest; of a layer, what it makes it of; of a
//	                        document, whether it was found in a layout
//	referrer/<repo>/<digest> what refers to a manifest
//	image/<key>             a finished image
//	build/<attribute>       whether what is built of it is a whole image
//	layout/<key>            what an image of an OCI layout consists of
//	directory/<path>/<hash>, architecture/<path>/<hash>
//	                        what was seen of a path that lies far away, with this NarHash
//
// What a record names is written before it: a process that is killed leaves none that leads nowhere.
type records struct{ cache digests.Cache }

type blobRecord struct {
	Recipe *layer.Recipe `json:"recipe,omitempty"`
	Inline []byte        `json:"inline,omitempty"`
}

type manifestRecord struct {
	MediaType types.MediaType `json:"mediaType"`
	Data      []byte          `json:"data"`
	Image     string          `json:"image,omitempty"` // the key of the image it is a manifest of
}

func isAbsent(err error) bool { return errors.Is(err, fs.ErrNotExist) }

func (r records) get(ctx context.Context, key string, to any) error {
	return kv.Read(ctx, r.cache, key, to)
}

func (r records) put(ctx context.Context, key string, from any) error {
	return kv.Write(ctx, r.cache, key, from)
}

func linkKey(repository string, d v1.Hash) string { return "link/" + repository + "/" + d.String() }

// blob returns what makes a blob that the repository links to.
func (r records) blob(ctx context.Context, repository string, d v1.Hash) (*blobRecord, error) {
	v, err := r.cache.Get(ctx, linkKey(repository, d))
	if err != nil {
		return nil, err
	}
	own := new(blobRecord)
	if json.Unmarshal(v, own) == nil && own.Recipe != nil {
		return own, nil
	}
	return r.stored(ctx, d)
}

// stored returns what makes a blob of any repository.
func (r records) stored(ctx context.Context, d v1.Hash) (*blobRecord, error) {
	b := new(blobRecord)
	if err := r.get(ctx, "blob/"+d.String(), b); err != nil {
		return nil, err
	}
	if b.Recipe == nil && document.Digest(b.Inline) != d {
		return nil, fmt.Errorf("record of blob %s is damaged: %w", d, fs.ErrNotExist)
	}
	return b, nil
}

// hasBytes reports whether the bytes of a blob are recorded themselves, as those of configs are.
func (r records) hasBytes(ctx context.Context, d v1.Hash) bool {
	b, err := r.stored(ctx, d)
	return err == nil && b.Recipe == nil
}

// document returns a manifest or index that the repository links to.
func (r records) document(ctx context.Context, repository string, d v1.Hash) (*manifestRecord, error) {
	link, err := r.cache.Get(ctx, linkKey(repository, d))
	if err != nil {
		return nil, err
	}
	m := new(manifestRecord)
	if err := r.get(ctx, "manifest/"+d.String(), m); err != nil {
		return nil, err
	}
	if string(link) == foundLink {
		m.Image = ""
	}
	if document.Digest(m.Data) != d {
		return nil, fmt.Errorf("record of manifest %s is damaged: %w", d, fs.ErrNotExist)
	}
	return m, nil
}

// referrer returns what is recorded to refer to a manifest, if all of it is there.
func (r records) referrer(ctx context.Context, repository string, subject v1.Hash) (*v1.Descriptor, error) {
	d := new(v1.Descriptor)
	if err := r.get(ctx, referrerKey(repository, subject), d); err != nil {
		return nil, err
	}
	rec, err := r.document(ctx, repository, d.Digest)
	if err != nil {
		return nil, err
	}
	m, err := v1.ParseManifest(bytes.NewReader(rec.Data))
	if err != nil {
		return nil, err
	}
	for _, blob := range append(m.Layers, m.Config) {
		b, err := r.blob(ctx, repository, blob.Digest)
		if err != nil {
			return nil, err
		}
		if b.Recipe != nil { // a layout of that name made it of something
			return nil, fmt.Errorf("blob %s: %w", blob.Digest, fs.ErrNotExist)
		}
	}
	return d, nil
}

// foundLink is the value of a link to a document that was found in a layout.
const foundLink = "found"

// putFound records a document of a layout, whose blobs are recorded already, and that a repository has it. It is nobody's
// image there, but stays what it is elsewhere.
func (r records) putFound(ctx context.Context, repository string, d *v1.Descriptor) error {
	key, known := "manifest/"+d.Digest.String(), new(manifestRecord)
	if err := r.get(ctx, key, known); err != nil || document.Digest(known.Data) != d.Digest {
		if err := r.put(ctx, key, manifestRecord{MediaType: d.MediaType, Data: d.Data}); err != nil {
			return err
		}
	}
	return r.cache.Put(ctx, linkKey(repository, d.Digest), []byte(foundLink))
}

// putDocument records a manifest or index, whose blobs are recorded already, and that a repository has it.
func (r records) putDocument(ctx context.Context, repository string, d *v1.Descriptor, image string) error {
	if err := r.put(ctx, "manifest/"+d.Digest.String(), manifestRecord{d.MediaType, d.Data, image}); err != nil {
		return err
	}
	return r.cache.Put(ctx, linkKey(repository, d.Digest), nil)
}

// putInline records a small blob, and that a repository has it.
func (r records) putInline(ctx context.Context, repository string, b []byte) error {
	d := document.Digest(b)
	if err := r.put(ctx, "blob/"+d.String(), blobRecord{Inline: b}); err != nil {
		return err
	}
	return r.cache.Put(ctx, linkKey(repository, d), nil)
}

func (r records) image(ctx context.Context, key string) (*document.Image, error) {
	m := new(document.Image)
	return m, r.get(ctx, "image/"+key, m)
}

// putRecipe records what makes a blob. Bytes that are recorded themselves stay: other images may count on them.
func (r records) putRecipe(ctx context.Context, d v1.Hash, recipe *layer.Recipe) error {
	if r.hasBytes(ctx, d) {
		return nil
	}
	return r.put(ctx, "blob/"+d.String(), blobRecord{Recipe: recipe})
}

// putImage records a finished image, its blobs first.
func (r records) putImage(ctx context.Context, m *document.Image, config []byte) error {
	for _, l := range m.Layers {
		if err := r.putRecipe(ctx, l.Digest, &l.Recipe); err != nil {
			return err
		}
	}
	if err := r.put(ctx, "blob/"+m.Config.String(), blobRecord{Inline: config}); err != nil {
		return err
	}
	return r.put(ctx, "image/"+m.Key, m)
}

// publication is what a repository is to have: images of several platforms with equally encoded layers, in the dialects
// that such layers are served in.
type publication struct {
	repository string
	images     []*document.Image
	dialects   []*document.Dialect
}

// in reports whether a dialect has media types for all of the images.
func (p *publication) in(d *document.Dialect) bool {
	return !slices.ContainsFunc(p.images, func(m *document.Image) bool { return !m.In(d) })
}

// manifests are those of one image.
func (p *publication) manifests(m *document.Image) []*v1.Descriptor {
	var out []*v1.Descriptor
	for _, d := range p.dialects {
		if m.In(d) {
			out = append(out, m.Manifest(d))
		}
	}
	return out
}

// indexes are those of several images; there is none of a single one.
func (p *publication) indexes() []*v1.Descriptor {
	var out []*v1.Descriptor
	for _, d := range p.dialects {
		if len(p.images) > 1 && p.in(d) {
			out = append(out, document.Index(d, p.images))
		}
	}
	return out
}

// publish records the manifests of images, and that a repository has them with all their blobs.
// What is there already is written again only if all is.
func (r records) publish(ctx context.Context, p *publication, all bool) error {
	if !all && r.published(ctx, p) {
		return nil
	}
	for _, m := range p.images {
		if err := r.linkBlobs(ctx, p.repository, m); err != nil {
			return err
		}
		for _, d := range p.manifests(m) {
			if err := r.putDocument(ctx, p.repository, d, m.Key); err != nil {
				return err
			}
		}
	}
	for _, d := range p.indexes() {
		if err := r.putDocument(ctx, p.repository, d, ""); err != nil {
			return err
		}
	}
	return nil
}

// published reports whether a repository has all of this: records can be lost one by one, and what a layer was made of
// may have become something else with the same bytes.
func (r records) published(ctx context.Context, p *publication) bool {
	for _, m := range p.images {
		if !r.linked(ctx, p.repository, m) {
			return false
		}
		for _, d := range p.manifests(m) {
			if rec, err := r.document(ctx, p.repository, d.Digest); err != nil || rec.Image == "" {
				return false
			}
		}
	}
	for _, d := range p.indexes() {
		if _, err := r.document(ctx, p.repository, d.Digest); err != nil {
			return false
		}
	}
	return true
}

// linked reports whether a repository has the blobs of an image, made of what the image makes them of.
func (r records) linked(ctx context.Context, repository string, m *document.Image) bool {
	for _, l := range m.Layers {
		want, err := json.Marshal(blobRecord{Recipe: &l.Recipe})
		if err != nil {
			return false
		}
		if b, err := r.cache.Get(ctx, linkKey(repository, l.Digest)); err != nil || !bytes.Equal(b, want) {
			return false
		}
	}
	b, err := r.cache.Get(ctx, linkKey(repository, m.Config))
	return err == nil && len(b) == 0 // a layout of that name made it of something
}

func (r records) linkBlobs(ctx context.Context, repository string, m *document.Image) error {
	for _, l := range m.Layers {
		if err := r.put(ctx, linkKey(repository, l.Digest), blobRecord{Recipe: &l.Recipe}); err != nil {
			return err
		}
	}
	return r.cache.Put(ctx, linkKey(repository, m.Config), nil)
}

func unknownDigest(repository string, d v1.Hash) error {
	text := fmt.Sprintf("%s has nothing with digest %s", repository, d)
	return fault.WithPublic(fault.Absent(text), text)
}
