package manifest

import (
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/nixreg/nixreg/manifest/layer"
	"github.com/nixreg/nixreg/store"
)

// Image is a finished image: every digest is known. Its manifests follow from it.
type Image struct {
	Key          string `json:"key"` // what it is remembered under
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
	Ready       bool           `json:"ready,omitempty"` // it was made elsewhere
	Warnings    []string       `json:"warnings,omitempty"`
	// Definition is the key of what it was made from, and Roots are the store paths that keep all of it alive: where a
	// [Holder] holds them.
	Definition string       `json:"definition,omitempty"`
	Roots      []store.Path `json:"roots,omitempty"`
}

// ImageLayer is one layer of an image, bottom first.
type ImageLayer struct {
	Digest v1.Hash      `json:"digest"`
	Size   int64        `json:"size"`
	Recipe layer.Recipe `json:"recipe"` // what it is made of in this image: another may make the same bytes of other paths
	// Contents are the store paths in it; of a base image's layer the name of the archive's member; of the symlink
	// layer the paths that are linked to.
	Contents []string `json:"contents"`
}

// in reports whether a dialect has media types for all layers.
func (m *Image) in(d *dialect) bool {
	return !slices.ContainsFunc(m.Layers, func(l ImageLayer) bool { return d.layer(l.Recipe) == "" })
}

// manifest is the image's manifest in one dialect that it is in.
func (m *Image) manifest(d *dialect) *v1.Descriptor {
	layers := make([]v1.Descriptor, len(m.Layers))
	for i, l := range m.Layers {
		layers[i] = v1.Descriptor{MediaType: d.layer(l.Recipe), Digest: l.Digest, Size: l.Size}
	}
	config := v1.Descriptor{Digest: m.Config, Size: m.ConfigSize}
	return document(d.manifest, manifestBytes(d, config, layers, annotations{m.Title, m.Version}))
}

// index is the index of several platforms' images in one dialect.
func index(d *dialect, images []*Image) *v1.Descriptor {
	children := make([]v1.Descriptor, len(images))
	for i, m := range images {
		children[i] = *m.manifest(d)
		children[i].Platform = &v1.Platform{OS: m.OS, Architecture: m.Architecture, Variant: m.Variant}
	}
	return document(d.index, indexBytes(d, children, annotations{images[0].Title, images[0].Version}))
}

func document(mt types.MediaType, b []byte) *v1.Descriptor {
	return &v1.Descriptor{MediaType: mt, Digest: digestOf(b), Size: int64(len(b)), Data: b}
}
