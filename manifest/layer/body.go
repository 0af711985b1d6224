package layer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"github.com/nixreg/nixreg/store"
)

// body is the bytes of one layer as they can be made now: the layout is fixed, files are read when asked for.
// Safe for concurrent use.
type body interface {
	size() int64
	// weight is about how many bytes of memory the body holds.
	weight() int64
	// stamp changes when a file that the bytes come from does.
	stamp() string
	// writeRange writes n bytes from offset off.
	writeRange(ctx context.Context, s store.Store, w io.Writer, off, n int64) error
}

// open makes the body of a recipe. Every object must be valid in the store with the recipe's NarHash.
func (m *Maker) open(ctx context.Context, r Recipe) (body, error) {
	switch r.Format {
	case StorePaths:
		ctx, stop := context.WithCancel(ctx)
		defer stop()
		m.prefetch(ctx, r)
		return openTable(ctx, m.exact(&r), r)
	case Symlinks:
		return openSymlinks(ctx, m.exact(&r), r)
	case Entries:
		return openEntries(r)
	case NixDB:
		return openNixDB(ctx, m.exact(&r), r)
	case Verbatim, Member:
		return m.openFile(ctx, r)
	}
	return nil, fmt.Errorf("layer format %q: %w", r.Format, errors.ErrUnsupported)
}

// prefetch begins to fetch what will be opened one after the other: what a cache sent once may not be kept any more.
func (m *Maker) prefetch(ctx context.Context, r Recipe) {
	if len(r.Objects) < 2 || !store.IsDistant(m.Store) {
		return
	}
	paths := make([]store.Path, len(r.Objects))
	for i, ref := range r.Objects {
		paths[i] = ref.Path
	}
	store.Prefetch(ctx, m.Store, paths)
}

// literal is a body in memory.
type literal []byte

func (l literal) size() int64   { return int64(len(l)) }
func (l literal) weight() int64 { return int64(len(l)) }

// stamp is the digest: the bytes were made of names and links, which have no stamps.
func (l literal) stamp() string {
	sum := sha256.Sum256(l)
	return hex.EncodeToString(sum[:16])
}

func (l literal) writeRange(_ context.Context, _ store.Store, w io.Writer, off, n int64) error {
	_, err := io.Copy(w, bytes.NewReader(l[off:off+n]))
	return err
}
