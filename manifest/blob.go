package manifest

import (
	"context"
	"io"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"nixreg/manifest/layer"
)

// Blob is the bytes behind a digest.
type Blob interface {
	Size() int64
	WriteRange(ctx context.Context, w io.Writer, off, n int64) error
}

// inline is a blob in memory.
type inline []byte

func (b inline) Size() int64 { return int64(len(b)) }

func (b inline) WriteRange(_ context.Context, w io.Writer, off, n int64) error {
	_, err := io.Copy(w, strings.NewReader(string(b[off:off+n])))
	return err
}

// Blob finds a blob of a repository.
func (s *Source) Blob(ctx context.Context, repository string, digest v1.Hash) (Blob, error) {
	b, err := searched(ctx, s, repository, digest, s.records.blob)
	switch {
	case err != nil:
		return nil, err
	case b.Recipe == nil:
		return inline(b.Inline), nil
	}
	l, err := s.layers.Open(ctx, *b.Recipe, digest)
	if err != nil {
		return nil, s.unopened(ctx, *b.Recipe, err)
	}
	return l, nil
}

// BlobSize is the size of what Blob finds, for those who read nothing of it: nothing is fetched from afar for that.
func (s *Source) BlobSize(ctx context.Context, repository string, digest v1.Hash) (int64, error) {
	b, err := searched(ctx, s, repository, digest, s.records.blob)
	switch {
	case err != nil:
		return 0, err
	case b.Recipe == nil:
		return int64(len(b.Inline)), nil
	}
	n, err := s.layers.Size(ctx, *b.Recipe, digest)
	if err != nil {
		return 0, s.unopened(ctx, *b.Recipe, err)
	}
	return n, nil
}

// unopened makes the error for a layer that cannot be opened: an image may be made from files that are gone, or are others now.
func (s *Source) unopened(ctx context.Context, r layer.Recipe, err error) error {
	s.recent.Clear()
	return s.lost(ctx, r, err)
}
