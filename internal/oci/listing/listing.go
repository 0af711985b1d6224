// Package listing reads what an index of images lists: its images by platform, and all that it leads to.
//
// It knows the types of go-containerregistry, which package oci does not. It must not know where documents come from.
package listing

import (
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/nixreg/nixreg/internal/oci"
)

// Documents returns the media types of images and of indexes of images, OCI's and Docker's.
func Documents() []types.MediaType {
	return []types.MediaType{
		types.OCIImageIndex, types.OCIManifestSchema1, types.DockerManifestList, types.DockerManifestSchema2,
	}
}

// IsDocument reports whether a media type is one of [Documents].
func IsDocument(t types.MediaType) bool { return t.IsIndex() || t.IsImage() }

// PlatformOf returns what a descriptor says of its platform; nil is the zero Platform.
func PlatformOf(p *v1.Platform) oci.Platform {
	if p == nil {
		return oci.Platform{}
	}
	return oci.Platform{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant}
}

// Choose returns the image of a list for a platform, as [oci.Choose] does.
func Choose(list []v1.Descriptor, wants ...oci.Platform) (v1.Descriptor, error) {
	return oci.Choose(list, func(d v1.Descriptor) oci.Platform { return PlatformOf(d.Platform) }, wants...)
}
