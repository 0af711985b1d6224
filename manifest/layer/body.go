package layer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"nixreg/store"
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

// open makes the body of a recipe. Every object must be valid in s with the recipe's NarHash.
func open(ctx context.Context, s store.Store, r Recipe) (body, error) {
	switch r.Format {
	case StorePaths:
		return openTable(ctx, s, r)
	case Symlinks:
		return openSymlinks(ctx, s, r)
	case Verbatim, Member:
		return openFile(ctx, s, r)
	}
	return nil, fmt.Errorf("layer format %q: %w", r.Format, errors.ErrUnsupported)
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

// file is a body that is part of one file of a store path.
type file struct {
	recipe Recipe
	at     store.Path
	node   store.Node
}

func openFile(ctx context.Context, s store.Store, r Recipe) (body, error) {
	if len(r.Objects) != 1 {
		return nil, fmt.Errorf("layer format %s: %d objects: %w", r.Format, len(r.Objects), fs.ErrInvalid)
	}
	at, nd, err := store.Resolve(ctx, s, r.Objects[0].Path.Abs()+"/"+r.File)
	if err != nil {
		return nil, err
	}
	if nd.Kind != store.Regular {
		return nil, fmt.Errorf("%s/%s: not a regular file: %w", at, nd.Name, fs.ErrInvalid)
	}
	f := file{recipe: r, at: at, node: nd}
	if r.Format == Member && !r.Gzip && (r.Offset < 0 || r.Size < 0 || r.Offset+r.Size > nd.Size) {
		return nil, fmt.Errorf("%s: member lies beyond the archive's end: %w", at, fs.ErrInvalid)
	}
	return f, nil
}

func (f file) size() int64 {
	if f.recipe.Format == Member {
		return f.recipe.Size
	}
	return f.node.Size
}

func (f file) weight() int64 { return 512 }
func (f file) stamp() string {
	return fmt.Sprintf("%d %d %d", f.node.Size, f.node.Stamp.Inode, f.node.Stamp.Ctime)
}

func (f file) writeRange(ctx context.Context, s store.Store, w io.Writer, off, n int64) error {
	t, err := s.Open(ctx, f.at)
	if err != nil {
		return err
	}
	defer t.Close()
	if f.recipe.Gzip {
		return unzipRange(ctx, t, f.node, w, f.recipe.Offset+off, n)
	}
	return t.WriteFile(ctx, w, f.node, f.recipe.Offset+off, n)
}
