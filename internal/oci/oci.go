// Package oci is the vocabulary of container images: what a repository, a tag, a digest and a reference may be, and how
// much of each there may be.
//
// It needs nothing but the standard library. It must not know Nix, nor how images are made, served or fetched.
//
// Source: OCI distribution-spec 1.1, "Pulling manifests" and "Pushing Manifests"; github.com/distribution/reference, the
// grammar of docker pull, for hosts and references.
package oci

// Bounds, in bytes.
const (
	// MaxName is the longest name of a repository, with the host and a slash in front where there is a host.
	MaxName = 255
	MaxTag  = 128
	// MaxManifest is the largest manifest or index that every registry and every client takes.
	MaxManifest = 4 << 20
)

// The files of an OCI layout, and the annotation that names an image in its index.
//
// Source: OCI image-spec 1.1, image-layout.md and annotations.md.
const (
	LayoutFile = "oci-layout"
	IndexFile  = "index.json"
	RefName    = "org.opencontainers.image.ref.name"
)

const (
	// Latest is the tag of a reference without a tag and a digest.
	Latest = "latest"
	// DockerHub is the host of a reference without a host.
	DockerHub = "docker.io"
)
