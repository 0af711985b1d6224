package layer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/nixreg/nixreg/manifest/layer/gunzip"
	"github.com/nixreg/nixreg/store"
)

// indexed is from which offset of a gzipped archive on its index is used: what lies before is faster read without.
const indexed = 4 << 20

// file is a body that is part of one file of a store path.
type file struct {
	maker  *Maker
	recipe Recipe
	at     store.Path
	node   store.Node
}

func (m *Maker) openFile(ctx context.Context, r Recipe) (body, error) {
	if len(r.Objects) != 1 {
		return nil, fmt.Errorf("layer format %s: %d objects: %w", r.Format, len(r.Objects), fs.ErrInvalid)
	}
	if r.Packed != "" && r.Encoding != Tar {
		return nil, fmt.Errorf("layer is compressed already, with %s: %w", r.Packed, fs.ErrInvalid)
	}
	at, nd, err := store.Resolve(ctx, m.exact(&r), r.Objects[0].Path.Abs()+"/"+r.File)
	if errors.Is(err, fs.ErrNotExist) && m.loose(r.Objects[0].Path) { // a link may lead out, and clients need not know where
		return nil, fmt.Errorf("%s/%s is not there, or is a link out of it: %w", r.Objects[0].Path, r.File, fs.ErrNotExist)
	}
	if err != nil {
		return nil, err
	}
	if nd.Kind != store.Regular {
		return nil, fmt.Errorf("%s/%s: not a regular file: %w", at, nd.Name, fs.ErrInvalid)
	}
	f := file{maker: m, recipe: r, at: at, node: nd}
	if r.Format == Member && (r.Offset < 0 || r.Size < 0 || !r.Gzip && !r.Zstd && r.Offset+r.Size > nd.Size) {
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
	s := fmt.Sprintf("%d %d %d", f.node.Size, f.node.Stamp.Inode, f.node.Stamp.Ctime)
	if f.at != f.recipe.Objects[0].Path { // a link leads there, and may come to lead elsewhere
		s += " " + string(f.at)
	}
	return s
}

func (f file) writeRange(ctx context.Context, s store.Store, w io.Writer, off, n int64) error {
	off += f.recipe.Offset
	if f.recipe.Gzip && off > indexed {
		return f.writeIndexed(ctx, s, w, off, n)
	}
	t, err := s.Open(ctx, f.at)
	if err != nil {
		return err
	}
	defer t.Close()
	raw := &nodeReader{ctx: ctx, tree: t, node: f.node}
	switch {
	case f.recipe.Gzip:
		return copyRange(w, gunzip.NewReader(raw, nil), off, n)
	case f.recipe.Zstd:
		return zstdRange(w, raw, off, n)
	}
	return t.WriteFile(ctx, w, f.node, off, n)
}

// writeIndexed writes n bytes of a gzipped archive from far behind its start.
func (f file) writeIndexed(ctx context.Context, s store.Store, w io.Writer, off, n int64) error {
	x, err := f.maker.index(ctx, contentsKey(f.recipe.Objects[0], f.at, f.node), f.at, f.node)
	if err != nil {
		return err
	}
	t, err := s.Open(ctx, f.at)
	if err != nil {
		return err
	}
	defer t.Close()
	z, err := x.NewReader(&nodeReader{ctx: ctx, tree: t, node: f.node}, off)
	if err != nil {
		return err
	}
	return copyRange(w, z, 0, n)
}
