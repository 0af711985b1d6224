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

// wholeSize is the size in bytes up to which a blob is verified before its answer begins, so that the client of a wrong one
// gets a status. A server buffers so much of an answer: a connection that ends then has no header either.
const wholeSize = 4 << 10

// Blob implements [registry.Source]. A blob that is not here is fetched, once for all who want it, and goes to them as
// it arrives. For a HEAD nothing is fetched, where the upstream says the size without. What a manifest says of a blob's
// size is nobody's word: one that is wrong must not spoil the blob for the others.
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
		// That a blob is here for one repository says nothing about another.
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

// fetch returns a blob that is kept, being fetched, or fetched from now on. If it is not known that the repository has
// it, only a fetch from there proves it: one for another repository may have begun since anybody looked.
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

// join finds a blob, or has it fetched from repo; own is set if it is. A fetch from another repository that comes to
// nothing is no answer for this one: then it looks again.
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

// open begins to fetch a blob, if that has not just failed. The error is an [openError].
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

// openError is what came of a request for a blob of a repository.
type openError struct {
	error
	repo string
}

func (e openError) Unwrap() error { return e.error }

// stat asks the upstream for a blob's size, and so whether the repository has it. The size is -1 where it does not say.
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

// answering is a blob whose errors are for clients: one that is fetched again may fail before its first byte.
type answering struct{ registry.Blob }

func (b answering) WriteRange(ctx context.Context, w io.Writer, off, n int64) error {
	return answer(b.Blob.WriteRange(ctx, w, off, n))
}
