package manifest

import (
	"context"
	"fmt"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/nixreg/nixreg/internal/oci"
	"github.com/nixreg/nixreg/manifest/fault"
	"github.com/nixreg/nixreg/manifest/layer"
)

// Blob is the content with a digest.
type Blob = oci.Blob

// Blob returns a blob of a repository.
func (s *Source) Blob(ctx context.Context, repository string, digest v1.Hash) (Blob, error) {
	return madeOf(ctx, s, repository, digest, func(r layer.Recipe) (Blob, error) {
		l, err := s.env.Layers.Open(ctx, r, digest)
		if err != nil {
			return nil, err
		}
		return l, nil
	}, func(b []byte) Blob { return oci.Bytes(b) })
}

// BlobSize returns the size of a blob in bytes, for callers that do not read the blob. It fetches nothing from a remote store.
func (s *Source) BlobSize(ctx context.Context, repository string, digest v1.Hash) (int64, error) {
	return madeOf(ctx, s, repository, digest, func(r layer.Recipe) (int64, error) {
		return s.env.Layers.Size(ctx, r, digest)
	}, func(b []byte) int64 { return int64(len(b)) })
}

// madeOf finds the recipe of a blob in a repository, and opens it. The source of that recipe, such as an OCI layout, may be
// deleted. Then madeOf opens the recipe of another repository, which makes the same bytes.
func madeOf[T any](ctx context.Context, s *Source, repository string, digest v1.Hash, open func(layer.Recipe) (T, error), is func([]byte) T) (none T, err error) {
	b, err := searched(ctx, s, repository, digest, s.records.blob)
	if err != nil {
		return none, err
	}
	if b.Recipe == nil {
		return is(b.Inline), nil
	}
	v, err := open(*b.Recipe)
	if isAbsent(err) {
		switch other, failed := s.records.stored(ctx, digest); {
		case failed != nil:
		case other.Recipe == nil:
			return is(other.Inline), nil
		case other.Recipe.ID() != b.Recipe.ID():
			if v, failed := open(*other.Recipe); failed == nil {
				return v, nil
			}
		}
	}
	if err != nil {
		return none, s.unopened(ctx, repository, digest, *b.Recipe, err)
	}
	return v, nil
}

// unopened returns the error for a layer that cannot be opened. The files of the image may be deleted or changed; then the
// answers that name the layer are dropped.
func (s *Source) unopened(ctx context.Context, repository string, digest v1.Hash, r layer.Recipe, err error) error {
	if isAbsent(err) {
		for _, tag := range s.tagsOf(repository, func(a *answer) bool { return a.layout != nil || a.promises(digest) }) {
			s.answers.Delete([2]string{repository, tag})
		}
		if !fault.IsPublic(err) {
			err = fault.WithPublic(err, "the files of the blob are gone, or have changed"+fault.SeeLog)
		}
	}
	return s.lost(ctx, r, err)
}

// lost adds the reason to the error for a layer that is gone, if one of its store paths is gone.
func (s *Source) lost(ctx context.Context, r layer.Recipe, err error) error {
	if !isAbsent(err) {
		return err
	}
	for _, ref := range slices.Concat(r.Objects, r.Via) {
		if s.env.Host.Holds(ref.Path) {
			continue
		}
		if _, failed := s.env.Store.Object(ctx, ref.Path); isAbsent(failed) {
			text := ref.Path.Abs() + " has gone, deleted by Nix's garbage collector perhaps" // the image's clients know the path
			return fault.WithPublic(fmt.Errorf("%s: %w", text, err), text)
		}
	}
	return err
}
