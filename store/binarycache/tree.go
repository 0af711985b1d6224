package binarycache

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"strings"
	"sync/atomic"

	"github.com/nixreg/nixreg/store"
)

const (
	smallRange = 64 << 10 // bytes; up to here a range is read wholly before any of it is handed over
	heldBack   = 4 << 10  // of larger ranges, how many of the last bytes are handed over after the second look
	maxWrite   = 8 << 20  // bytes between two looks at the context
)

// tree is one use of an archive.
type tree struct {
	path    store.Path
	archive *archive
	release func()
	closed  atomic.Bool
}

// newTree returns the files of p, which lie in a. Its Close calls release, once.
func newTree(p store.Path, a *archive, release func()) *tree {
	return &tree{path: p, archive: a, release: release}
}

// NarHash implements store.Hashed.
func (t *tree) NarHash() store.Hash { return t.archive.file.key.hash }

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
	return t.archive.writeTo(ctx, w, t.archive.index.At(i).Offset+off, n)
}

// writeTo writes n bytes from off on. The last ones are handed over after a second look at the file.
func (a *archive) writeTo(ctx context.Context, w io.Writer, off, n int64) error {
	if err := a.check(); err != nil {
		return err
	}
	buf := a.spool.buffers.Get().(*[smallRange]byte)
	defer a.spool.buffers.Put(buf)
	last := n
	if n > smallRange {
		last = heldBack
		if err := a.send(ctx, w, off, n-last, buf[:]); err != nil {
			return err
		}
	}
	if _, err := a.fd.ReadAt(buf[:last], off+n-last); err != nil {
		return a.shorter(err)
	}
	if err := a.check(); err != nil {
		return err
	}
	_, err := w.Write(buf[:last])
	return err
}

// shorter is the error for a file that ended where it did not before.
func (a *archive) shorter(err error) error {
	if errors.Is(err, io.EOF) {
		return cmp.Or(a.check(), fmt.Errorf("spooled archive: %w", io.ErrUnexpectedEOF))
	}
	return err
}

// send copies n bytes from off on to w: where w can make use of it, as an *os.File (for sendfile).
func (a *archive) send(ctx context.Context, w io.Writer, off, n int64, buf []byte) error {
	r, done := a.reader(w, off, n)
	defer done()
	for n > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		part := min(n, maxWrite)
		did, err := io.CopyBuffer(w, io.LimitReader(r, part), buf)
		if err != nil {
			return err
		}
		if did < part {
			return a.shorter(io.EOF)
		}
		n -= part
	}
	return nil
}

// reader returns n bytes from off on; done ends its use.
func (a *archive) reader(w io.Writer, off, n int64) (r io.Reader, done func()) {
	if _, ok := w.(io.ReaderFrom); ok {
		if f, err := a.again(off); err == nil {
			return f, func() { f.Close() }
		}
	}
	return io.NewSectionReader(a.fd, off, n), func() {}
}

// again gives the file, which may have no name any more, a second descriptor with an offset of its own. Only Linux can do
// that.
func (a *archive) again(off int64) (*os.File, error) {
	f, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", a.fd.Fd()))
	if err != nil {
		return nil, err
	}
	if _, err := f.Seek(off, io.SeekStart); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// Close implements store.Tree. Closing twice does nothing more.
func (t *tree) Close() error {
	if !t.closed.Swap(true) {
		t.release()
	}
	return nil
}
