package layer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/nixreg/nixreg/manifest/layer/gunzip"
	"github.com/nixreg/nixreg/store"
)

// indexed is the first offset in a gzipped archive for which its index is used. Before it, decompression from the start is faster.
const indexed = 4 << 20

// file is the body of a Verbatim or Member recipe: a range of one file of a store path.
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
	if errors.Is(err, fs.ErrNotExist) && m.mutable(r.Objects[0].Path) { // a link may lead out of it; clients must not read the target
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
	if f.at != f.recipe.Objects[0].Path { // by a link, whose target may change
		s += " " + string(f.at)
	}
	return s
}

// writeRange implements body. An archive that is compressed with zstd is read from its start each time: a copy of
// its decompressed bytes would take space on disk.
func (f file) writeRange(ctx context.Context, s store.Store, w io.Writer, off, n int64) error {
	off += f.recipe.Offset
	var x *gunzip.Index
	if f.recipe.Gzip && off > indexed {
		var err error
		if x, err = f.maker.index(ctx, contentsKey(f.recipe.Objects[0], f.at, f.node), f.at, f.node); err != nil {
			return err
		}
	}
	t, err := s.Open(ctx, f.at)
	if err != nil {
		return err
	}
	defer t.Close()
	raw := &nodeReader{ctx: ctx, tree: t, node: f.node}
	switch {
	case x != nil:
		z, err := x.NewReader(raw, off)
		if err != nil {
			return err
		}
		return copyRange(w, z, 0, n)
	case f.recipe.Gzip:
		return copyRange(w, gunzip.NewReader(raw, nil), off, n)
	case f.recipe.Zstd:
		z, err := Zstandard.open(raw, nil)
		if err != nil {
			return err
		}
		defer z.Close()
		return copyRange(w, z, off, n)
	}
	return t.WriteFile(ctx, w, f.node, off, n)
}

// Pinned returns a Verbatim recipe of a mutable path that does not change with other files of the path: in place of the path's
// NarHash it has a hash of the stamp of the recipe's file. Other recipes are returned unchanged.
func (m *Maker) Pinned(ctx context.Context, r Recipe) (Recipe, error) {
	if r.Format != Verbatim || !m.anyMutable(r) {
		return r, nil
	}
	b, err := m.openFile(ctx, r)
	if err != nil {
		return r, err
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %s", r.File, b.stamp()))
	r.Objects = []Ref{{Path: r.Objects[0].Path, NarHash: store.Hash(sum)}}
	return r, nil
}

// Compression returns the compression of the file of a Verbatim or Member recipe.
func (m *Maker) Compression(ctx context.Context, r Recipe) (Compression, error) {
	b, err := m.openFile(ctx, r)
	if err != nil {
		return "", err
	}
	var start bytes.Buffer
	if err := b.writeRange(ctx, m.exact(&r), &start, 0, min(b.size(), headBytes)); err != nil {
		return "", err
	}
	return readCompression(&start)
}
