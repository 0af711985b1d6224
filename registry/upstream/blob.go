package upstream

import (
	"context"
	"errors"
	"net/http"

	v1 "github.com/google/go-containerregistry/pkg/v1"
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
	return e.Status == http.StatusForbidden && e.elsewhere
}

// Blob opens a blob of repo. ctx governs the Body until it is closed, which the caller does. The caller also verifies
// the digest. Errors are as Head's.
func (r *Registry) Blob(ctx context.Context, repo string, d v1.Hash) (*Body, error) {
	q, err := r.query(http.MethodGet, repo, "blobs", d.String())
	if err != nil {
		return nil, err
	}
	q.wait = makeTimeout
	ctx, cancel := context.WithCancel(ctx)
	resp, err := r.do(ctx, q)
	if err != nil {
		cancel()
		return nil, err
	}
	b := &Body{registry: r, query: q, ctx: ctx, cancel: cancel, size: resp.ContentLength, body: resp.Body}
	b.validator = validator(resp.Header)
	return b, nil
}
