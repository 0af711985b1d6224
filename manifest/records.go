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
//	referrer/<repo>/<digest> what refers to a manifest, see attacher
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

// putInline records the bytes of a small blob.
func (r records) putInline(ctx context.Context, d v1.Hash, b []byte) error {
	return r.put(ctx, "blob/"+d.String(), blobRecord{Inline: b})
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
	if err := r.putInline(ctx, m.Config, config); err != nil {
		return err
	}
	return r.put(ctx, "image/"+m.Key, m)
}

// link is a blob or a document that a repository has.
type link struct {
	digest   v1.Hash
	value    []byte         // of the record of the link
	document *v1.Descriptor // with its bytes; nil for a blob
	image    string         // the key of the image that the document is a manifest of; "" for none
}

// foundLink is the value of the link to a document that was found in a layout: it is the manifest of no image there.
const foundLink = "found"

// blobLink links to a blob. A recipe says what the repository makes the blob of; nil: its bytes are recorded.
func blobLink(digest v1.Hash, recipe *layer.Recipe) link {
	if recipe == nil {
		return link{digest: digest}
	}
	value, err := json.Marshal(blobRecord{Recipe: recipe})
	if err != nil {
		panic("manifest: recipe cannot be encoded: " + err.Error()) // strings, integers and booleans always can
	}
	return link{digest: digest, value: value}
}

// publish records that a repository has all of links, of which blobs stand before the documents that name them. What is
// there already is written again only if all is.
func (r records) publish(ctx context.Context, repository string, links []link, all bool) error {
	if !all && r.published(ctx, repository, links) {
		return nil
	}
	for _, l := range links {
		if l.document != nil {
			if err := r.putDocument(ctx, l); err != nil {
				return err
			}
		}
		if err := r.cache.Put(ctx, linkKey(repository, l.digest), l.value); err != nil {
			return err
		}
	}
	return nil
}

// errLostDocument is matched by the error about a document of a remembered layout, which has no bytes, and whose record is lost.
var errLostDocument = errors.New("lost")

// putDocument records the bytes of a document. One that was found in a layout stays what it is elsewhere.
func (r records) putDocument(ctx context.Context, l link) error {
	if string(l.value) == foundLink && r.hasDocument(ctx, l.digest) {
		return nil
	}
	if l.document.Data == nil {
		return fmt.Errorf("record of manifest %s: %w", l.digest, errLostDocument)
	}
	return r.put(ctx, "manifest/"+l.digest.String(), manifestRecord{l.document.MediaType, l.document.Data, l.image})
}

// hasDocument reports whether the bytes of a document are recorded, for whichever repository.
func (r records) hasDocument(ctx context.Context, d v1.Hash) bool {
	known := new(manifestRecord)
	return r.get(ctx, "manifest/"+d.String(), known) == nil && document.Digest(known.Data) == d
}

// published reports whether a repository has all of links: records can be lost one by one, and what a layer was made of
// may have become something else with the same bytes.
func (r records) published(ctx context.Context, repository string, links []link) bool {
	return !slices.ContainsFunc(links, func(l link) bool {
		if l.document == nil {
			value, err := r.cache.Get(ctx, linkKey(repository, l.digest))
			return err != nil || !bytes.Equal(value, l.value)
		}
		rec, err := r.document(ctx, repository, l.digest)
		return err != nil || l.image != "" && rec.Image == ""
	})
}

func unknownDigest(repository string, d v1.Hash) error {
	text := fmt.Sprintf("%s has nothing with digest %s", repository, d)
	return fault.WithPublic(fault.Absent(text), text)
}
