// Package document writes the documents of images: configs, manifests and indexes.
//
// It owns their bytes, which never change: the order of keys, the spelling of JSON, and the media types of each dialect.
// It does no I/O, and must not know stores, catalogues, or how an image came to be.
//
//	m := document.Image{Title: "hello", OS: "linux", Architecture: "amd64", Config: digest, ConfigSize: n, Layers: layers}
//	d := m.Manifest(document.OCI) // media type, digest, size and bytes
package document

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/nixreg/nixreg/manifest/layer"
)

// Dialect is a set of media types in which images are served: OCI's or Docker's.
type Dialect struct {
	index, manifest, config types.MediaType
	layer                   func(layer.MediaTypes) types.MediaType
	annotated               bool
}

var (
	// OCI has the media types of the OCI image specification.
	OCI = &Dialect{
		index: types.OCIImageIndex, manifest: types.OCIManifestSchema1, config: types.OCIConfigJSON,
		layer:     func(m layer.MediaTypes) types.MediaType { return m.OCI },
		annotated: true,
	}
	// Docker has those of Docker's image manifest V2, schema 2.
	Docker = &Dialect{
		index: types.DockerManifestList, manifest: types.DockerManifestSchema2, config: types.DockerConfigJSON,
		layer: func(m layer.MediaTypes) types.MediaType { return m.Docker },
	}
)

// Encoding returns the encoding of the layers of a dialect if want is asked for: gzip where the dialect has no media type
// for want, as Docker has none for zstd.
func (d *Dialect) Encoding(want layer.Encoding) layer.Encoding {
	if d.layer(want.MediaTypes()) == "" {
		return layer.Gzip
	}
	return want
}

// Layer returns the media type of a layer, "" if the dialect has none.
func (d *Dialect) Layer(r layer.Recipe) types.MediaType { return d.layer(r.MediaTypes()) }

// annotations are on every OCI manifest. Empty ones are left out.
type annotations struct{ Title, Version string }

// The documents below are written by hand, compact and with a fixed order of keys. Their digests stay the same for ever,
// which the struct of a library does not promise.

// manifestBytes writes an image manifest.
//
// Source: OCI image-spec 1.1, manifest.md; Docker image manifest V2, schema 2.
func manifestBytes(d *Dialect, config v1.Descriptor, layers []v1.Descriptor, a annotations) []byte {
	doc := Head(d.manifest)
	config.MediaType = d.config
	doc.Set("config", Reference(config))
	list := List()
	for _, l := range layers {
		list.Items = append(list.Items, Reference(l))
	}
	doc.Set("layers", list)
	annotate(&doc, d, a)
	return doc.Compact()
}

// indexBytes writes an image index, or Docker's manifest list, of the children in their order.
//
// Source: OCI image-spec 1.1, image-index.md.
func indexBytes(d *Dialect, children []v1.Descriptor, a annotations) []byte {
	doc := Head(d.index)
	list := List()
	for _, c := range children {
		v := Reference(c)
		platform := Value{Kind: '{'}
		platform.Set("architecture", String(c.Platform.Architecture))
		platform.Set("os", String(c.Platform.OS))
		if c.Platform.Variant != "" {
			platform.Set("variant", String(c.Platform.Variant))
		}
		v.Set("platform", platform)
		list.Items = append(list.Items, v)
	}
	doc.Set("manifests", list)
	annotate(&doc, d, a)
	return doc.Compact()
}

// Head returns the first two members of a manifest or index.
func Head(mt types.MediaType) Value {
	doc := Value{Kind: '{'}
	doc.Set("schemaVersion", Value{Kind: 's', Text: "2"})
	doc.Set("mediaType", String(string(mt)))
	return doc
}

// Reference returns the JSON of a descriptor: media type, digest and size.
func Reference(d v1.Descriptor) Value {
	v := Value{Kind: '{'}
	v.Set("mediaType", String(string(d.MediaType)))
	v.Set("digest", String(d.Digest.String()))
	v.Set("size", Value{Kind: 's', Text: strconv.FormatInt(d.Size, 10)})
	return v
}

func annotate(doc *Value, d *Dialect, a annotations) {
	notes := Value{Kind: '{'}
	if a.Title != "" {
		notes.Set("org.opencontainers.image.title", String(a.Title))
	}
	if a.Version != "" {
		notes.Set("org.opencontainers.image.version", String(a.Version))
	}
	if d.annotated && len(notes.Keys) > 0 {
		doc.Set("annotations", notes)
	}
}

// Digest returns the SHA-256 of b.
func Digest(b []byte) v1.Hash {
	sum := sha256.Sum256(b)
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum[:])}
}
