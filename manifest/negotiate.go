package manifest

import (
	"errors"
	"fmt"
	"slices"

	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/nixreg/nixreg/internal/oci"
	"github.com/nixreg/nixreg/manifest/program"
)

// choose finds the dialect to answer in, and whether with an index; nil if the client accepts nothing there is.
func choose(accept func(...types.MediaType) (types.MediaType, bool), several bool, among []*dialect) (d *dialect, isIndex bool) {
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

// dialectsLike are the dialects that serve layers in the same encoding as d does: their images are the same.
func (s *Source) dialectsLike(d *dialect) []*dialect {
	for _, group := range s.served() {
		if slices.Contains(group, d) {
			return group
		}
	}
	return nil
}

// served are all dialects, those with one encoding together.
func (s *Source) served() [][]*dialect {
	if ociDialect.encoding(s.encoding) == dockerDialect.encoding(s.encoding) {
		return [][]*dialect{{ociDialect, dockerDialect}}
	}
	return [][]*dialect{{ociDialect}, {dockerDialect}}
}

// preferred is the image for a client that knows no indexes.
func preferred(images []*Image) *Image {
	m, err := oci.Choose(images, func(m *Image) oci.Platform {
		return oci.Platform{OS: m.OS, Architecture: m.Architecture, Variant: m.Variant}
	}, oci.Linux(program.DefaultArchitecture)...)
	if err != nil {
		return images[0]
	}
	return m
}

type unacceptableError struct{ repository, tag string }

func (e *unacceptableError) Error() string {
	return fmt.Sprintf("%s:%s is served as an OCI or Docker (schema 2) manifest, and the client accepts neither", e.repository, e.tag)
}
func (e *unacceptableError) Public() string       { return e.Error() }
func (e *unacceptableError) Is(target error) bool { return target == errors.ErrUnsupported }

// unacceptableTypeError is about an image whose documents are there already.
type unacceptableTypeError struct {
	repository, tag string
	mediaType       types.MediaType
}

func (e *unacceptableTypeError) Error() string {
	return fmt.Sprintf("%s:%s is of type %s, and the client does not accept it", e.repository, e.tag, e.mediaType)
}
func (e *unacceptableTypeError) Public() string {
	return fmt.Sprintf("%s:%s is of a type that the client does not accept", e.repository, e.tag)
}
func (e *unacceptableTypeError) Is(target error) bool { return target == errors.ErrUnsupported }
