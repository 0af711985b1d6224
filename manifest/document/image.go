package document

import (
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/nixreg/nixreg/manifest/layer"
	"github.com/nixreg/nixreg/store"
)

// Image is an image whose digests are all known. Its manifests are made from it alone. It is recorded as JSON.
type Image struct {
	Key          string `json:"key"` // of its record
	Title        string `json:"title"`
	Version      string `json:"version,omitempty"`
	OS           string `json:"os"`
	Architecture string `json:"architecture"`
	Variant      string `json:"variant,omitempty"`
	// Encoding is that of the layers.
	Encoding    layer.Encoding `json:"encoding,omitempty"`
	Config      v1.Hash        `json:"config"`
	ConfigSize  int64          `json:"configSize"`
	Layers      []ImageLayer   `json:"layers"`
	Command     []string       `json:"command"`
	CommandNote string         `json:"commandNote,omitempty"` // why there is no command
	Env         []string       `json:"env"`
	Ready       bool           `json:"ready,omitempty"` // from an archive or a layout, not made by nixreg
	Warnings    []string       `json:"warnings,omitempty"`
	// Refused are the keys of a ready-made config with values that clients refuse.
	Refused []string `json:"refused,omitempty"`
	// Definition is the key of its definition. Roots are the store paths whose closures have all of its files, if they are
	// kept from the garbage collector.
	Definition string       `json:"definition,omitempty"`
	Roots      []store.Path `json:"roots,omitempty"`
}

// ImageLayer is one layer of an image, bottom first.
type ImageLayer struct {
	Digest v1.Hash      `json:"digest"`
	Size   int64        `json:"size"`
	Recipe layer.Recipe `json:"recipe"` // in this image; another may make the same bytes of other paths
	// Contents are the store paths in the layer. For a layer of a base image it is the name of the archive's member, for the
	// symlink layer the paths that it links to.
	Contents []string `json:"contents"`
}

// In reports whether a dialect has media types for all layers of the image.
func (m *Image) In(d *Dialect) bool {
	return !slices.ContainsFunc(m.Layers, func(l ImageLayer) bool { return d.Layer(l.Recipe) == "" })
}

// Manifest returns the manifest in a dialect that has media types for all layers.
func (m *Image) Manifest(d *Dialect) *v1.Descriptor {
	layers := make([]v1.Descriptor, len(m.Layers))
	for i, l := range m.Layers {
		layers[i] = v1.Descriptor{MediaType: d.Layer(l.Recipe), Digest: l.Digest, Size: l.Size}
	}
	config := v1.Descriptor{Digest: m.Config, Size: m.ConfigSize}
	return Describe(d.manifest, manifestBytes(d, config, layers, annotations{m.Title, m.Version}))
}

// Index returns the index of the images of several platforms in a dialect.
func Index(d *Dialect, images []*Image) *v1.Descriptor {
	children := make([]v1.Descriptor, len(images))
	for i, m := range images {
		children[i] = *m.Manifest(d)
		children[i].Platform = &v1.Platform{OS: m.OS, Architecture: m.Architecture, Variant: m.Variant}
	}
	return Describe(d.index, indexBytes(d, children, annotations{images[0].Title, images[0].Version}))
}

// Describe returns the descriptor of a document, with the document itself as Data.
func Describe(mt types.MediaType, b []byte) *v1.Descriptor {
	return &v1.Descriptor{MediaType: mt, Digest: Digest(b), Size: int64(len(b)), Data: b}
}
