package manifest

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/nixreg/nixreg/manifest/layer"
)

// dialect is one of the two sets of media types an image is served in.
type dialect struct {
	index, manifest, config types.MediaType
	layers                  map[layer.Encoding]types.MediaType
	annotated               bool
}

var (
	ociDialect = &dialect{
		index: types.OCIImageIndex, manifest: types.OCIManifestSchema1, config: types.OCIConfigJSON,
		layers: map[layer.Encoding]types.MediaType{
			layer.Tar: types.OCIUncompressedLayer, layer.Gzip: types.OCILayer, layer.Zstd: types.OCILayerZStd,
		},
		annotated: true,
	}
	dockerDialect = &dialect{
		index: types.DockerManifestList, manifest: types.DockerManifestSchema2, config: types.DockerConfigJSON,
		layers: map[layer.Encoding]types.MediaType{
			layer.Tar: types.DockerUncompressedLayer, layer.Gzip: types.DockerLayer,
		},
	}
)

// encoding is the one in which a dialect serves layers if want is asked for: Docker's types have none for zstd.
func (d *dialect) encoding(want layer.Encoding) layer.Encoding {
	if _, ok := d.layers[want]; !ok {
		return layer.Gzip
	}
	return want
}

// layer is the media type of a layer, "" if the dialect has none.
func (d *dialect) layer(r layer.Recipe) types.MediaType {
	switch r.Packed {
	case layer.Gzipped:
		return d.layers[layer.Gzip]
	case layer.Zstandard:
		return d.layers[layer.Zstd]
	}
	return d.layers[r.Encoding]
}

// annotations are the ones of every OCI manifest; absent ones are left out.
type annotations struct{ Title, Version string }

// The documents below are written by hand, compact and with a fixed order of keys: their digests are to stay the same
// for ever, and the encoding of a library's structs is not promised to.

// manifestBytes is an image manifest.
//
// Source: OCI image-spec 1.1, manifest.md; Docker image manifest V2, schema 2.
func manifestBytes(d *dialect, config v1.Descriptor, layers []v1.Descriptor, a annotations) []byte {
	doc := head(d.manifest)
	config.MediaType = d.config
	doc.set("config", descriptorValue(config))
	list := listValue()
	for _, l := range layers {
		list.items = append(list.items, descriptorValue(l))
	}
	doc.set("layers", list)
	annotate(&doc, d, a)
	return doc.compact()
}

// indexBytes is an image index, or Docker's manifest list, of the children in their order.
//
// Source: OCI image-spec 1.1, image-index.md.
func indexBytes(d *dialect, children []v1.Descriptor, a annotations) []byte {
	doc := head(d.index)
	list := listValue()
	for _, c := range children {
		v := descriptorValue(c)
		platform := value{kind: '{'}
		platform.set("architecture", stringValue(c.Platform.Architecture))
		platform.set("os", stringValue(c.Platform.OS))
		if c.Platform.Variant != "" {
			platform.set("variant", stringValue(c.Platform.Variant))
		}
		v.set("platform", platform)
		list.items = append(list.items, v)
	}
	doc.set("manifests", list)
	annotate(&doc, d, a)
	return doc.compact()
}

func head(mt types.MediaType) value {
	doc := value{kind: '{'}
	doc.set("schemaVersion", value{kind: 's', text: "2"})
	doc.set("mediaType", stringValue(string(mt)))
	return doc
}

func descriptorValue(d v1.Descriptor) value {
	v := value{kind: '{'}
	v.set("mediaType", stringValue(string(d.MediaType)))
	v.set("digest", stringValue(d.Digest.String()))
	v.set("size", value{kind: 's', text: strconv.FormatInt(d.Size, 10)})
	return v
}

func annotate(doc *value, d *dialect, a annotations) {
	notes := value{kind: '{'}
	if a.Title != "" {
		notes.set("org.opencontainers.image.title", stringValue(a.Title))
	}
	if a.Version != "" {
		notes.set("org.opencontainers.image.version", stringValue(a.Version))
	}
	if d.annotated && len(notes.keys) > 0 {
		doc.set("annotations", notes)
	}
}

// digestOf is the SHA-256 of b.
func digestOf(b []byte) v1.Hash {
	sum := sha256.Sum256(b)
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum[:])}
}
