package registry

import (
	"context"
	"errors"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/nixreg/nixreg/internal/oci"
)

// Request is one question for a manifest, parsed and checked: Repository and Tag match the grammar, and exactly one
// of Tag and Digest is set.
type Request struct {
	Repository string
	Tag        string
	Digest     v1.Hash
	// Accept returns the one of offers, which stand in the server's order of preference, that the client's Accept
	// headers like best, and false if they admit none. Ignored for a digest.
	Accept func(offers ...types.MediaType) (types.MediaType, bool)
	// Warn adds a text for the client's user to the answer. It is called at most a few times, before Manifest returns.
	Warn func(text string)
}

// BlobRequest is one question for a blob.
type BlobRequest struct {
	Repository string
	Digest     v1.Hash
	// Head is set where only the size is wanted, or that the blob is there: its WriteRange is not called.
	Head bool
}

// Source is all the HTTP layer needs. A missing thing is an error matching [io/fs.ErrNotExist].
//
// The text of an error goes to the log. A client is told no more than the kind of it, or what the first error in its chain
// that has a method Public() string says there.
//
// All methods are safe for concurrent use.
type Source interface {
	// Manifest finds the document r names. The descriptor's Data holds its bytes, its Digest and MediaType are exact.
	Manifest(ctx context.Context, r Request) (*v1.Descriptor, error)
	// Blob finds a blob of a repository by its digest.
	Blob(ctx context.Context, r BlobRequest) (Blob, error)
}

// Blob is the bytes behind a digest: its size before the first byte, and bytes from any offset.
type Blob = oci.Blob

// SizeOnly is a blob for a [BlobRequest] with Head: nothing but its size is wanted.
type SizeOnly int64

// Size implements [Blob].
func (s SizeOnly) Size() int64 { return int64(s) }

// WriteRange implements [Blob]: there are no bytes.
func (SizeOnly) WriteRange(context.Context, io.Writer, int64, int64) error {
	return errors.ErrUnsupported
}

// Lister lists what a [Source] has. Both lists are sorted by bytes and hold no duplicates.
type Lister interface {
	// Tags lists the tags of a repository; an unknown one gives an error matching [io/fs.ErrNotExist].
	Tags(ctx context.Context, repository string) ([]string, error)
	Repositories(ctx context.Context) ([]string, error)
}

// ReferrerLister knows what refers to a manifest. It is safe for concurrent use.
type ReferrerLister interface {
	// Referrers lists what refers to the manifest with this digest in a repository: media type, digest, size,
	// ArtifactType and Annotations of each. What is unknown has none.
	Referrers(ctx context.Context, repository string, digest v1.Hash) ([]v1.Descriptor, error)
}
