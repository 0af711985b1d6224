package listing

import (
	"errors"
	"fmt"
	"io/fs"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Bounds of what one name may lead to.
const (
	MaxDocuments = 1000 // manifests and indexes
	MaxDepth     = 4    // indexes around a manifest
)

// Walk reads root and all manifests and indexes that it leads to, each digest once. read returns a document, and the
// descriptors that it lists if it is an index. The documents come back in the order in which they can be pushed: what an index
// lists stands before the index, and root is the last.
//
// A document for which the error of read matches [fs.ErrNotExist] is missing, and so is an index that lists nothing else than
// missing ones; the others are read nevertheless. If root is missing, Walk returns that error. More than [MaxDocuments], or
// [MaxDepth], are an error matching [errors.ErrUnsupported].
func Walk[T any](root v1.Descriptor, read func(v1.Descriptor) (T, []v1.Descriptor, error)) (documents []T, missing []v1.Hash, err error) {
	errs := make(map[v1.Hash]error) // of the digests that were visited
	var visit func(d v1.Descriptor, depth int) error
	visit = func(d v1.Descriptor, depth int) (err error) {
		if depth > MaxDepth || len(errs) >= MaxDocuments {
			return fmt.Errorf("more than %d manifests, or in more than %d indexes: %w", MaxDocuments, MaxDepth, errors.ErrUnsupported)
		}
		defer func() { errs[d.Digest] = err }()
		errs[d.Digest] = nil
		document, children, err := read(d)
		if err != nil {
			return err
		}
		before, found := len(missing), len(children) == 0
		for _, c := range children {
			childErr, visited := errs[c.Digest]
			if !visited {
				childErr = visit(c, depth+1)
			}
			switch {
			case childErr == nil:
				found = true
			case !errors.Is(childErr, fs.ErrNotExist):
				return childErr
			case !visited:
				missing = append(missing, c.Digest)
			}
			err = childErr
		}
		if !found {
			missing = missing[:before]
			return err
		}
		documents = append(documents, document)
		return nil
	}
	if err := visit(root, 0); err != nil {
		return nil, nil, err
	}
	return documents, missing, nil
}
