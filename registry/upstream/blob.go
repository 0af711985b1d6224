package upstream

import (
	"context"
	"errors"
	"math"
	"net/http"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/nixreg/nixreg/internal/fetch"
)

// Stat returns the size in bytes of a blob of repo, -1 where the registry does not say. Where it does not by HEAD, the
// blob is opened and not read. Errors are as Head's.
func (r *Registry) Stat(ctx context.Context, repo string, d v1.Hash) (int64, error) {
	q, err := r.query(http.MethodHead, repo, "blobs", d.String())
	if err != nil {
		return 0, err
	}
	resp, err := r.do(ctx, q)
	switch {
	case err == nil:
		resp.Body.Close()
		if resp.ContentLength >= 0 {
			return resp.ContentLength, nil
		}
	case !knowsNoHead(err):
		return 0, err
	}
	b, err := r.Blob(ctx, repo, d)
	if err != nil {
		return 0, err
	}
	defer b.Close()
	return b.Size(), nil
}

// knowsNoHead reports whether it may be for the method that a HEAD has failed: an address that a registry has signed is
// often good for GET alone.
func knowsNoHead(err error) bool {
	var e *Error
	if !errors.As(err, &e) || e.TokenServer {
		return false
	}
	switch e.Status {
	case http.StatusMethodNotAllowed, http.StatusNotImplemented:
		return true
	}
	answer := (*fetch.Error)(nil)
	return e.Status == http.StatusForbidden && errors.As(err, &answer) && answer.Elsewhere != ""
}

// Blob opens a blob of repo. ctx governs the Body until it is closed, which the caller does. The caller also verifies
// the digest. Errors are as Head's.
func (r *Registry) Blob(ctx context.Context, repo string, d v1.Hash) (*Body, error) {
	q, err := r.query(http.MethodGet, repo, "blobs", d.String())
	if err != nil {
		return nil, err
	}
	first := q
	first.wait = makeTimeout // for the rest, the registry has the blob
	tries := r.tries(q.subject)
	tries.Max, tries.Busy = maxCuts+1, 0
	b, err := r.client.Open(ctx, fetch.File{
		Ask: func(ctx context.Context, rest http.Header) (*http.Response, error) {
			if rest == nil {
				return r.do(ctx, first)
			}
			q := q
			q.header = rest
			return r.do(ctx, q)
		},
		Tries: tries, Progress: progress, Limit: math.MaxInt64, Digested: true, Patient: r.patient,
		Fail: func(ctx context.Context, err error) error { return r.failed(ctx, q.subject, err) },
	})
	if err != nil {
		return nil, err
	}
	return &Body{b}, nil
}

const (
	maxCuts  = 5        // in a row, without progress between them
	progress = 64 << 10 // bytes, if they do not come too slowly
)

// Body is a blob as it comes. A connection that is cut, has no byte for a minute, or less than 512 KiB in two minutes of
// waiting, is replaced by one for the rest. A patient registry may be out of reach for about a minute, too. It is for one
// reader at a time; Close may be called at any time.
type Body struct{ fetched *fetch.Body }

// Size is the number of bytes of the blob as the registry says, -1 if it does not.
func (b *Body) Size() int64 { return b.fetched.Size() }

// Read implements [io.Reader]. No more than Size bytes are read, and no less before io.EOF. Errors are [*Error] for what
// the registry is to blame for, or that of the context.
func (b *Body) Read(p []byte) (int, error) { return b.fetched.Read(p) }

// Close ends a running Read, and the request.
func (b *Body) Close() error { return b.fetched.Close() }
