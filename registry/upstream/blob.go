package upstream

import (
	"context"
	"net/http"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Stat returns the size in bytes of a blob of repo, -1 where the registry does not say. Errors are as Head's.
func (r *Registry) Stat(ctx context.Context, repo string, d v1.Hash) (int64, error) {
	q, err := r.query(http.MethodHead, repo, "blobs", d.String())
	if err != nil {
		return 0, err
	}
	resp, err := r.do(ctx, q)
	if err != nil {
		return 0, err
	}
	resp.Body.Close()
	return resp.ContentLength, nil
}

// Blob opens a blob of repo. ctx governs the Body until it is closed, which the caller does. The caller also verifies
// the digest. Errors are as Head's.
func (r *Registry) Blob(ctx context.Context, repo string, d v1.Hash) (*Body, error) {
	q, err := r.query(http.MethodGet, repo, "blobs", d.String())
	if err != nil {
		return nil, err
	}
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
