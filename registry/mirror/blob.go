package mirror

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync/atomic"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/nixreg/nixreg/internal/oci"
	"github.com/nixreg/nixreg/registry"
	"github.com/nixreg/nixreg/registry/mirror/blobs"
)

// wholeSize is the size in bytes up to which a blob is verified before its response begins. So the client gets an error status
// for a wrong blob. An HTTP server buffers that many bytes, so a connection that breaks then has not sent a header either.
const wholeSize = 4 << 10

// Blob implements [registry.Source]. A blob that is not on disk is fetched once for all its clients, who get the bytes as they
// arrive. For a HEAD, the mirror asks the upstream for the size, and fetches the blob only if the upstream does not say it. The
// size of a blob in a manifest is not trusted, because a wrong manifest must not make the blob fail for other clients.
func (m *Mirror) Blob(ctx context.Context, r registry.BlobRequest) (registry.Blob, error) {
	repo, err := m.repository(r.Repository)
	if err != nil {
		return nil, err
	}
	linked, err := m.records.get(ctx, blobKey(repo, r.Digest), new(blobRecord))
	if err != nil {
		return nil, err
	}
	size, here := m.blobs.Has(r.Digest)
	if !here {
		size, here = m.blobs.Fetching(r.Digest)
	}
	if here && !linked || r.Head && size < 0 {
		// The blob may be on disk for another repository only: ask whether this repository has it.
		said, err := m.stat(ctx, repo, r.Digest)
		if err != nil {
			return nil, answer(err)
		}
		m.remember(ctx, repo, r.Digest)
		linked = true
		if size < 0 {
			size = said
		}
	}
	if r.Head && size >= 0 {
		return registry.SizeOnly(size), nil
	}
	b, err := m.fetch(ctx, repo, r.Digest, linked)
	return b, answer(err)
}

// fetch returns a blob from disk, from a running fetch, or from a new fetch. linked says that the repository is known to have the
// blob. If not, a fetch from this repository proves it. After a fetch from another repository, which may have begun meanwhile,
// fetch asks the upstream.
func (m *Mirror) fetch(ctx context.Context, repo string, d v1.Hash, linked bool) (registry.Blob, error) {
	var own atomic.Bool
	b, err := m.join(ctx, repo, d, &own)
	if err != nil {
		return nil, err
	}
	if !linked {
		if !own.Load() {
			if _, err := m.stat(ctx, repo, d); err != nil {
				return nil, err
			}
		}
		m.remember(ctx, repo, d)
	}
	if b.Size() > wholeSize {
		return answering{b}, nil
	}
	var whole bytes.Buffer
	if err := b.WriteRange(ctx, &whole, 0, b.Size()); err != nil {
		return nil, err
	}
	return oci.Bytes(whole.Bytes()), nil
}

// join returns a blob from disk or from a running fetch, or fetches it from repo and sets own. If a fetch from another repository
// fails, that says nothing about repo: then join tries again.
func (m *Mirror) join(ctx context.Context, repo string, d v1.Hash, own *atomic.Bool) (*blobs.Blob, error) {
	for {
		b, err := m.blobs.Blob(ctx, d, func(ctx context.Context) (io.ReadCloser, int64, error) {
			own.Store(true)
			return m.open(ctx, repo, d)
		})
		var from openError
		if !errors.As(err, &from) || from.repo == repo {
			return b, err
		}
	}
}

// open starts to fetch a blob, unless a recent failure is remembered. The error is an [openError].
func (m *Mirror) open(ctx context.Context, repo string, d v1.Hash) (io.ReadCloser, int64, error) {
	key := blobKey(repo, d)
	if err := m.failures.get(key); err != nil {
		return nil, 0, openError{err, repo}
	}
	body, err := m.upstream.Blob(ctx, repo, d)
	if err != nil {
		m.failures.put(key, err)
		return nil, 0, openError{err, repo}
	}
	return body, body.Size(), nil
}

// openError is the error of a request for a blob of a repository.
type openError struct {
	error
	repo string
}

func (e openError) Unwrap() error { return e.error }

// stat asks the upstream whether the repository has a blob, and for its size. The size is -1 if the upstream does not say it.
func (m *Mirror) stat(ctx context.Context, repo string, d v1.Hash) (int64, error) {
	key := "stat/" + repo + "@" + d.String()
	if err := m.failures.get(key); err != nil {
		return 0, err
	}
	return once(ctx, &m.flights, key, func(ctx context.Context) (int64, error) {
		if err := m.failures.get(key); err != nil {
			return 0, err
		}
		size, err := m.upstream.Stat(ctx, repo, d)
		if err != nil {
			m.failures.put(key, err)
			return 0, err
		}
		return size, nil
	})
}

func (m *Mirror) remember(ctx context.Context, repo string, d v1.Hash) {
	if err := m.records.put(ctx, blobKey(repo, d), blobRecord{}); err != nil {
		m.log.WarnContext(ctx, "blob is served but not remembered", "repository", repo, "digest", d, "err", err)
	}
}

// answering is a blob whose errors are made for clients by [answer]. A blob that is fetched again may fail before its first byte,
// when the client can still get a status.
type answering struct{ registry.Blob }

func (b answering) WriteRange(ctx context.Context, w io.Writer, off, n int64) error {
	return answer(b.Blob.WriteRange(ctx, w, off, n))
}
