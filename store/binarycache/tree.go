package binarycache

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"sort"
	"strings"
	"sync/atomic"

	"nixreg/store"
)

const (
	largeFile = 64 << 10 // bytes from which a descriptor of its own pays
	maxWrite  = 8 << 20  // bytes between two looks at the context
)

// tree is one use of an archive.
type tree struct {
	path    store.Path
	archive *archive
	release func()
	closed  atomic.Bool
}

// Nodes implements store.Tree.
func (t *tree) Nodes(ctx context.Context, under string) iter.Seq2[store.Node, error] {
	return func(yield func(store.Node, error) bool) {
		if t.closed.Load() {
			yield(store.Node{}, fmt.Errorf("%s: %w", t.path, fs.ErrClosed))
			return
		}
		nodes := t.archive.nodes
		first, ok := find(nodes, under)
		if !ok {
			yield(store.Node{}, fmt.Errorf("%s: %.300q: %w", t.path, under, fs.ErrNotExist))
			return
		}
		for i, nd := range nodes[first:] {
			if i > 0 && under != "" && !strings.HasPrefix(nd.Name, under+"/") {
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

// find returns the index of the node called name in nodes, which are in archive order.
func find(nodes []narNode, name string) (int, bool) {
	return sort.Find(len(nodes), func(i int) int { return compareNames(name, nodes[i].Name) })
}

// compareNames orders names component by component, so that what is below a directory follows it at once.
func compareNames(a, b string) int {
	for i := range min(len(a), len(b)) {
		switch {
		case a[i] == b[i]:
		case a[i] == '/':
			return -1
		case b[i] == '/' || a[i] > b[i]:
			return 1
		default:
			return -1
		}
	}
	return len(a) - len(b)
}

// WriteFile implements store.Tree. The archive was verified and can no longer change: it has no name.
func (t *tree) WriteFile(ctx context.Context, w io.Writer, nd store.Node, off, n int64) error {
	if t.closed.Load() {
		return fmt.Errorf("%s: %q: %w", t.path, nd.Name, fs.ErrClosed)
	}
	if nd.Kind != store.Regular || off < 0 || n < 0 || off > nd.Size || n > nd.Size-off {
		return fmt.Errorf("%s: %q: bytes %d+%d of %d: %w", t.path, nd.Name, off, n, nd.Size, fs.ErrInvalid)
	}
	i, ok := find(t.archive.nodes, nd.Name)
	if !ok || t.archive.nodes[i].Node != nd {
		return fmt.Errorf("%s: %q: %w", t.path, nd.Name, store.ErrChanged)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	r, done := t.archive.reader(w, t.archive.nodes[i].offset+off, n)
	defer done()
	if err := copyBytes(ctx, w, r, n); err != nil {
		return fmt.Errorf("%s: %q: %w", t.path, nd.Name, err)
	}
	return nil
}

// reader returns n bytes of the archive from off on: for a large file and a w that can make use of it (sendfile), as
// an *os.File that is closed by done.
func (a *archive) reader(w io.Writer, off, n int64) (r io.Reader, done func()) {
	if _, ok := w.(io.ReaderFrom); ok && n >= largeFile {
		if f, err := a.reopen(off); err == nil {
			return f, func() { f.Close() }
		}
	}
	return io.NewSectionReader(a.file, off, n), func() {}
}

// reopen gives the file, which has no name, a second descriptor with an offset of its own. Only Linux can do that.
func (a *archive) reopen(off int64) (*os.File, error) {
	f, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", a.file.Fd()))
	if err != nil {
		return nil, err
	}
	if _, err := f.Seek(off, io.SeekStart); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func copyBytes(ctx context.Context, w io.Writer, r io.Reader, n int64) error {
	for n > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		part := min(n, maxWrite)
		did, err := io.Copy(w, io.LimitReader(r, part))
		if err != nil {
			return err
		}
		if did < part {
			return io.ErrUnexpectedEOF
		}
		n -= part
	}
	return nil
}

// Close implements store.Tree. Closing twice does nothing more.
func (t *tree) Close() error {
	if !t.closed.Swap(true) {
		t.release()
	}
	return nil
}
