package disktree

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"syscall"

	"github.com/nixreg/nixreg/store"
)

const (
	smallFile = 64 << 10 // bytes of a range that is read wholly before any of it is written
	heldBack  = 4 << 10  // last bytes of a larger range, written after the second check
	chunk     = 4 << 20  // bytes between two looks at the context
)

var buffers = sync.Pool{New: func() any { return new([smallFile]byte) }}

// WriteFile implements store.Tree.
func (t *Tree) WriteFile(ctx context.Context, w io.Writer, nd store.Node, off, n int64) error {
	if nd.Kind != store.Regular || !wellFormed(nd.Name) || off < 0 || n < 0 || off > nd.Size || n > nd.Size-off {
		return fmt.Errorf("read %s: %.300q: bytes %d+%d of %d: %w", t.Path, nd.Name, off, n, nd.Size, fs.ErrInvalid)
	}
	if err := t.writeFile(ctx, w, nd, off, n); err != nil {
		return fmt.Errorf("read %s: %.300q: %w", t.Path, nd.Name, err)
	}
	return nil
}

func (t *Tree) writeFile(ctx context.Context, w io.Writer, nd store.Node, off, n int64) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	f, err := t.Files.OpenFile(t.file(nd.Name), os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return gone(err)
	}
	defer f.Close()
	if err := unchanged(f, nd); err != nil {
		return err
	}
	buf := buffers.Get().(*[smallFile]byte)
	defer buffers.Put(buf)
	last := n
	if n > smallFile {
		last = heldBack
		if err := send(ctx, w, f, off, n-last, buf[:]); err != nil {
			return err
		}
	}
	if _, err := f.ReadAt(buf[:last], off+n-last); err != nil {
		return shorter(err)
	}
	if err := unchanged(f, nd); err != nil {
		return err
	}
	_, err = w.Write(buf[:last])
	return err
}

// send copies n bytes of f to w in a form that lets a network connection use sendfile.
func send(ctx context.Context, w io.Writer, f *os.File, off, n int64, buf []byte) error {
	if _, err := f.Seek(off, io.SeekStart); err != nil {
		return err
	}
	for n > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		part := min(n, chunk)
		done, err := io.CopyBuffer(w, io.LimitReader(f, part), buf)
		if err != nil {
			return err
		}
		if done < part {
			return shorter(io.EOF)
		}
		n -= part
	}
	return nil
}

// unchanged checks that f is the file from which nd was made.
func unchanged(f *os.File, nd store.Node) error {
	fi, err := f.Stat()
	switch {
	case err != nil:
		return err
	case !fi.Mode().IsRegular():
		return fmt.Errorf("it is no regular file: %w", store.ErrChanged)
	case fi.Size() != nd.Size:
		return fmt.Errorf("size %d, was %d: %w", fi.Size(), nd.Size, store.ErrChanged)
	case stamp(fi) != nd.Stamp:
		return fmt.Errorf("another inode or ctime: %w", store.ErrChanged)
	}
	return nil
}

func shorter(err error) error {
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("it is shorter: %w", store.ErrChanged)
	}
	return err
}

// gone makes ErrChanged of the error for a name that leads to no file any more: there was one.
func gone(err error) error {
	for _, e := range []error{syscall.ENOENT, syscall.ELOOP, syscall.ENOTDIR, syscall.ENXIO} {
		if errors.Is(err, e) {
			return fmt.Errorf("%v: %w", err, store.ErrChanged) // its kind is ErrChanged alone
		}
	}
	return err
}
