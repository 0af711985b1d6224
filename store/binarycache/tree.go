package binarycache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"strings"
	"sync/atomic"

	"github.com/nixreg/nixreg/internal/diskcache"
	"github.com/nixreg/nixreg/store"
)

// tree is one use of an archive.
type tree struct {
	path    store.Path
	archive *archive
	closed  atomic.Bool
}

// newTree returns the files of p, which are in a. Close of the tree ends the use of a.
func newTree(p store.Path, a *archive) *tree { return &tree{path: p, archive: a} }

// NarHash implements store.Hashed.
func (t *tree) NarHash() store.Hash { return t.archive.hash }

// Nodes implements store.Tree.
func (t *tree) Nodes(ctx context.Context, under string) iter.Seq2[store.Node, error] {
	return func(yield func(store.Node, error) bool) {
		if t.closed.Load() {
			yield(store.Node{}, fmt.Errorf("%s: %w", t.path, fs.ErrClosed))
			return
		}
		nodes := t.archive.index
		first, ok := nodes.Find(under)
		if !ok {
			yield(store.Node{}, fmt.Errorf("%s: %.300q: %w", t.path, under, fs.ErrNotExist))
			return
		}
		for i := first; i < nodes.Len(); i++ {
			nd := nodes.At(i)
			if i > first && under != "" && !strings.HasPrefix(nd.Name, under+"/") {
				return
			}
			if err := ctx.Err(); err != nil {
				yield(store.Node{}, err)
				return
			}
			if !yield(nd.Node, nil) {
				return
			}
		}
	}
}

// WriteFile implements store.Tree.
func (t *tree) WriteFile(ctx context.Context, w io.Writer, nd store.Node, off, n int64) error {
	if err := t.writeFile(ctx, w, nd, off, n); err != nil {
		return fmt.Errorf("%s: %.300q: %w", t.path, nd.Name, err)
	}
	return nil
}

func (t *tree) writeFile(ctx context.Context, w io.Writer, nd store.Node, off, n int64) error {
	if t.closed.Load() {
		return fs.ErrClosed
	}
	if nd.Kind != store.Regular || off < 0 || n < 0 || off > nd.Size || n > nd.Size-off {
		return fmt.Errorf("bytes %d+%d of %d: %w", off, n, nd.Size, fs.ErrInvalid)
	}
	i, ok := t.archive.index.Find(nd.Name)
	if !ok || t.archive.index.At(i).Node != nd {
		return store.ErrChanged
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	_, err := t.archive.file.WriteRange(ctx, w, t.archive.index.At(i).Offset+off, n)
	if errors.Is(err, diskcache.ErrChanged) {
		return fmt.Errorf("spooled archive: %w: %w", err, store.ErrChanged)
	}
	return err
}

// Close implements store.Tree. Closing twice does nothing more.
func (t *tree) Close() error {
	if !t.closed.Swap(true) {
		t.archive.file.Close()
	}
	return nil
}
