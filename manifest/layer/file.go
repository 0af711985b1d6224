package layer

import (
	"context"
	"fmt"
	"io"
	"io/fs"

	"nixreg/manifest/layer/gunzip"
	"nixreg/store"
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
	at, nd, err := store.Resolve(ctx, m.Store, r.Objects[0].Path.Abs()+"/"+r.File)
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
	return fmt.Sprintf("%d %d %d", f.node.Size, f.node.Stamp.Inode, f.node.Stamp.Ctime)
}

func (f file) writeRange(ctx context.Context, s store.Store, w io.Writer, off, n int64) error {
	off += f.recipe.Offset
	if f.recipe.Gzip && off > indexed {
		c, err := f.maker.contents(ctx, f.recipe.Objects[0], f.at, f.node)
		if err != nil {
			return err
		}
		return c.writeRange(ctx, s, w, off, n)
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
