package pull

import (
	"context"
	"io"
	"log/slog"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/nixreg/nixreg/internal/oci"
)

// Upstream is the registry of an image. Safe for concurrent use.
type Upstream interface {
	// Manifest returns a manifest: its bytes in Data, its exact media type, and the digest of the bytes. The digest is ref if
	// ref is a digest. The size of Data is bounded.
	Manifest(ctx context.Context, repo, ref string, accept ...types.MediaType) (*v1.Descriptor, error)
	// Blob returns the bytes of a blob. The caller verifies and closes it.
	Blob(ctx context.Context, repo string, d v1.Hash) (io.ReadCloser, error)
}

// Platform is the operating system and architecture of an image.
type Platform = oci.Platform

// Request is an image to pull, and its name in the archive.
type Request struct {
	Image    Reference
	Platform Platform
	// FinalName is normalized as in Docker: nginx is docker.io/library/nginx in the archive.
	FinalName, FinalTag string
}

// Result describes the image that was pulled.
type Result struct {
	Digest   v1.Hash  // of the index, or of the manifest if there is no index
	Manifest v1.Hash  // of the manifest
	Config   v1.Hash  // of the configuration: Docker's image ID
	Platform Platform // from the configuration
	Hash     string   // of the archive, as SRI: sha256-BASE64
	Size     int64    // of the archive in bytes
}

// Puller pulls images. Its fields must not change after the first use. Safe for concurrent use.
type Puller struct {
	Upstream Upstream
	// Dir holds the uncompressed layers until the archive is written, in files without names. The files vanish with the process.
	// A process that is killed while it makes one leaves at most one empty file.
	Dir string
	// Log gets warnings about an image. It may be nil.
	Log *slog.Logger
	// Progress receives the compressed bytes downloaded so far and in total. Calls are frequent, and never concurrent. It may be
	// nil.
	Progress func(done, total int64)
}

func (p *Puller) log() *slog.Logger {
	if p.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return p.Log
}
