package document

import (
	"slices"

	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/nixreg/nixreg/internal/oci"
	"github.com/nixreg/nixreg/manifest/program"
)

// Choose returns the dialect of an answer, and whether the answer is an index. It returns nil if the client accepts none.
func Choose(accept func(...types.MediaType) (types.MediaType, bool), several bool, among []*Dialect) (d *Dialect, isIndex bool) {
	for _, isIndex := range []bool{true, false} {
		if isIndex && !several {
			continue
		}
		offers := make([]types.MediaType, len(among))
		for i, d := range among {
			offers[i] = d.manifest
			if isIndex {
				offers[i] = d.index
			}
		}
		if mt, ok := accept(offers...); ok {
			return among[max(0, slices.Index(offers, mt))], isIndex
		}
	}
	return nil, false
}

// Preferred returns the image for a client that does not accept indexes.
func Preferred(images []*Image) *Image {
	m, err := oci.Choose(images, func(m *Image) oci.Platform {
		return oci.Platform{OS: m.OS, Architecture: m.Architecture, Variant: m.Variant}
	}, oci.Linux(program.DefaultArchitecture)...)
	if err != nil {
		return images[0]
	}
	return m
}
