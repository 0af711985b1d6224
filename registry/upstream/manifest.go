package upstream

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/nixreg/nixreg/internal/fetch"
	"github.com/nixreg/nixreg/internal/oci"
	"github.com/nixreg/nixreg/internal/oci/listing"
)

// Head returns the descriptor of ref, a tag or a digest, in repo. Without accept it asks for images and indexes, of OCI and of
// Docker. Digest is zero, Size -1 and MediaType "" if the registry does not tell them; Data is nil. An error is an [*Error],
// or matches [io/fs.ErrInvalid] for an invalid name, or [ErrCredentials], or is that of ctx. It matches [ErrDigest] if ref is
// another digest than the registry tells.
func (r *Registry) Head(ctx context.Context, repo, ref string, accept ...types.MediaType) (*v1.Descriptor, error) {
	q, err := r.query(http.MethodHead, repo, "manifests", ref, orManifests(accept)...)
	if err != nil {
		return nil, err
	}
	resp, err := r.do(ctx, q)
	if err != nil {
		return nil, err
	}
	resp.Body.Close()
	d := &v1.Descriptor{MediaType: mediaType(resp.Header), Size: resp.ContentLength}
	if h, err := v1.NewHash(resp.Header.Get("Docker-Content-Digest")); err == nil {
		d.Digest = h
	}
	if want, err := v1.NewHash(ref); err == nil && d.Digest != want && d.Digest.Algorithm == want.Algorithm {
		return nil, r.nonsense(q.subject, resp.StatusCode, fmt.Errorf("the registry says it has %s: %w", d.Digest, ErrDigest))
	}
	return d, nil
}

// Manifest returns ref, a tag or a digest, of repo, with its bytes in Data: at most 4 MiB. Without accept it asks for images and
// indexes, but the registry may send any document: MediaType is its claim. Digest and Size are computed of Data. If ref is a
// digest, or the registry tells one, and Data has another, the error matches [ErrDigest]. Other errors are those of Head.
func (r *Registry) Manifest(ctx context.Context, repo, ref string, accept ...types.MediaType) (*v1.Descriptor, error) {
	q, err := r.query(http.MethodGet, repo, "manifests", ref, orManifests(accept)...)
	if err != nil {
		return nil, err
	}
	q.wait = makeTimeout
	doc, err := r.read(ctx, q, oci.MaxManifest)
	if err != nil {
		return nil, err
	}
	d := &v1.Descriptor{MediaType: mediaType(doc.header), Size: int64(len(doc.data)), Data: doc.data}
	for _, want := range []string{"sha256:", doc.header.Get("Docker-Content-Digest"), ref} {
		h, err := digest(doc.data, want)
		if err != nil {
			return nil, r.nonsense(q.subject, http.StatusOK, err)
		}
		if h != (v1.Hash{}) {
			d.Digest = h
		}
	}
	return d, nil
}

// digest computes the digest of data by the algorithm of want. If want has more than the algorithm, the two must be equal. If
// want is no digest, the result is zero.
func digest(data []byte, want string) (v1.Hash, error) {
	algorithm, hex, ok := strings.Cut(want, ":")
	h, err := v1.Hasher(algorithm)
	if err != nil || !ok {
		return v1.Hash{}, nil
	}
	h.Write(data)
	got := fmt.Sprintf("%x", h.Sum(nil))
	if hex != "" && got != hex {
		return v1.Hash{}, fmt.Errorf("document has digest %s:%s, not %.200s: %w", algorithm, got, fetch.Printable(want), ErrDigest)
	}
	return v1.Hash{Algorithm: algorithm, Hex: got}, nil
}

func orManifests(accept []types.MediaType) []types.MediaType {
	if len(accept) == 0 {
		return listing.Documents()
	}
	return accept
}
