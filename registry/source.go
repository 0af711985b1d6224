package registry

import (
	"context"
	"errors"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/nixreg/nixreg/internal/oci"
)

// Request is a request for a manifest. Repository and Tag match the grammar. Exactly one of Tag and Digest is set.
type Request struct {
	Repository string
	Tag        string
	Digest     v1.Hash
	// Accept returns the offer that the client's Accept headers prefer, and false if they allow none. offers are in the server's order
	// of preference. Ignored for a digest.
	Accept func(offers ...types.MediaType) (types.MediaType, bool)
	// Warn adds a text for the user to the answer. It is called before Manifest returns, a few times at most.
	Warn func(text string)
}

// BlobRequest is a request for a blob.
type BlobRequest struct {
	Repository string
	Digest     v1.Hash
	// Head says that only the size is wanted: WriteRange is not called.
	Head bool
}

// Source has the manifests and blobs to serve. An absent one gives an error matching [io/fs.ErrNotExist].
//
// The text of an error goes to the log. A client gets only its kind, or the text of the first error in the chain with a method
// Public() string.
//
// All methods are safe for concurrent use.
type Source interface {
	// Manifest returns the manifest or index for r. Data has its bytes; Digest and MediaType are exact.
	Manifest(ctx context.Context, r Request) (*v1.Descriptor, error)
	// Blob returns a blob of a repository by its digest.
	Blob(ctx context.Context, r BlobRequest) (Blob, error)
}

// Blob has the bytes of a digest: its size, and bytes from any offset.
type Blob = oci.Blob

// SizeOnly is a blob for a [BlobRequest] with Head.
type SizeOnly int64

// Size implements [Blob].
func (s SizeOnly) Size() int64 { return int64(s) }

// WriteRange implements [Blob]: there are no bytes.
func (SizeOnly) WriteRange(context.Context, io.Writer, int64, int64) error {
	return errors.ErrUnsupported
}

// Lister lists the names in a [Source]. Both lists are sorted by bytes, without duplicates.
type Lister interface {
	// Tags lists the tags of a repository; an unknown one gives an error matching [io/fs.ErrNotExist].
	Tags(ctx context.Context, repository string) ([]string, error)
	Repositories(ctx context.Context) ([]string, error)
}

// ReferrerLister lists referrers. Safe for concurrent use.
type ReferrerLister interface {
	// Referrers returns the referrers of a manifest in a repository, with media type, digest, size, ArtifactType and Annotations. An
	// unknown manifest has none.
	Referrers(ctx context.Context, repository string, digest v1.Hash) ([]v1.Descriptor, error)
}
