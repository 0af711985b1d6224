package binarycache

import (
	"context"
	"fmt"
)

const (
	narinfoSuffix = ".narinfo"

	// maxParsed bounds the narinfo files that are remembered, by the bytes of their text.
	maxParsed = 64 << 20
)

// index finds the narinfo files of a cache and remembers what they say.
type index interface {
	// narinfo returns what the file of a hash part says, if its path is valid; else the error matches fs.ErrNotExist.
	narinfo(ctx context.Context, hash string) (*narinfo, error)
	// forget is told that the archive of a narinfo is not there.
	forget(ctx context.Context, hash string)
	// hashes returns the hash parts that have a narinfo file, in order, or an error matching errors.ErrUnsupported.
	hashes() ([]string, error)
	// state is that of store.Store.
	state(ctx context.Context) (string, error)
}

// parseNarinfoOf reads the text of the narinfo file of a hash part in a cache.
func parseNarinfoOf(hash, text, cache string) (*narinfo, error) {
	name := hash + narinfoSuffix
	n, err := parseNarinfo(text, cache)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if n.object.Path.Hash() != hash {
		return nil, corrupt("%s: is about another path, %s", name, n.object.Path)
	}
	return n, nil
}
