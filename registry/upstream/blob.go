package upstream

import (
	"context"
	"errors"
	"math"
	"net/http"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/nixreg/nixreg/internal/fetch"
)

// Stat returns the size in bytes of a blob of repo, or -1 if the registry does not tell it. If HEAD does not tell the size,
// Stat sends a GET and does not read the blob. Errors are those of Head.
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

// knowsNoHead reports whether a HEAD may have failed because of its method. A signed address to which a registry redirects is
// often valid for GET only.
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

// Blob opens a blob of repo. The caller closes the Body and verifies the digest; the end of ctx ends the Body. Errors are those
// of Head.
func (r *Registry) Blob(ctx context.Context, repo string, d v1.Hash) (*Body, error) {
	q, err := r.query(http.MethodGet, repo, "blobs", d.String())
	if err != nil {
		return nil, err
	}
	first := q
	first.wait = makeTimeout // when a rest is asked for, the registry has the blob already
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

// Body is a blob while it is downloaded. A connection is too slow if it brings no byte for a minute, or less than 512 KiB in
// two minutes of waiting. After a cut or a connection that is too slow, Body asks for the rest. With [Options.Patient] the
// registry may be out of reach for about a minute. A Body is for one reader at a time; Close may be called at any time.
type Body struct{ fetched *fetch.Body }

// Size is the size of the blob in bytes as the registry tells it, or -1.
func (b *Body) Size() int64 { return b.fetched.Size() }

// Read implements [io.Reader]. If Size is known, exactly Size bytes come before io.EOF. An error is an [*Error], or that of the
// context.
func (b *Body) Read(p []byte) (int, error) { return b.fetched.Read(p) }

// Close ends the request, and a Read that is running.
func (b *Body) Close() error { return b.fetched.Close() }
