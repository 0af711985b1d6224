package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"github.com/nixreg/nixreg/store"
)

const (
	smallFile = 64 << 10 // up to here a range is read wholly before any of it is handed over
	heldBack  = 4 << 10  // of larger ranges, how many of the last bytes are handed over after the second check
	chunk     = 4 << 20  // between two looks at the context
)

// WriteFile implements store.Tree.
func (t *tree) WriteFile(ctx context.Context, w io.Writer, nd store.Node, off, n int64) error {
	if nd.Kind != store.Regular || !wellFormed(nd.Name) || off < 0 || n < 0 || off > nd.Size || n > nd.Size-off {
		return fmt.Errorf("read %s: bytes %d+%d of %d: %w", t.file(nd.Name), off, n, nd.Size, fs.ErrInvalid)
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("read %s: %w", t.file(nd.Name), err)
	}
	f, err := os.OpenFile(t.file(nd.Name), os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return gone(err)
	}
	defer f.Close()
	if err := unchanged(f, nd); err != nil {
		return err
	}
	buf := t.s.buffers.Get().(*[smallFile]byte)
	defer t.s.buffers.Put(buf)
	last := n
	if n > smallFile {
		last = heldBack
		if err := send(ctx, w, f, off, n-last, buf[:]); err != nil {
			return err
		}
	}
	if err := readAt(f, buf[:last], off+n-last); err != nil {
		return err
	}
	if err := unchanged(f, nd); err != nil {
		return err
	}
	if _, err := w.Write(buf[:last]); err != nil {
		return fmt.Errorf("read %s: hand over: %w", f.Name(), err)
	}
	return nil
}

// send copies n bytes of f to w, in a form from which a network connection can be served by sendfile.
func send(ctx context.Context, w io.Writer, f *os.File, off, n int64, buf []byte) error {
	if _, err := f.Seek(off, io.SeekStart); err != nil {
		return err
	}
	for n > 0 {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("read %s: %w", f.Name(), err)
		}
		part := min(n, chunk)
		done, err := io.CopyBuffer(w, io.LimitReader(f, part), buf)
		if err != nil {
			return fmt.Errorf("read %s: hand over: %w", f.Name(), err)
		}
		if done < part {
			return changed(f.Name(), "it is shorter")
		}
		n -= part
	}
	return nil
}

func readAt(f *os.File, buf []byte, off int64) error {
	_, err := f.ReadAt(buf, off)
	if errors.Is(err, io.EOF) {
		return changed(f.Name(), "it is shorter")
	}
	return err
}

// unchanged checks that f is the file nd was made from.
func unchanged(f *os.File, nd store.Node) error {
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	switch {
	case !fi.Mode().IsRegular():
		return changed(f.Name(), "it is no regular file")
	case fi.Size() != nd.Size:
		return changed(f.Name(), fmt.Sprintf("size %d, was %d", fi.Size(), nd.Size))
	case stamp(fi) != nd.Stamp:
		return changed(f.Name(), "another inode or ctime")
	}
	return nil
}

// gone turns the errors of a name that no longer leads to a file into store.ErrChanged: there was one.
func gone(err error) error {
	for _, e := range []error{syscall.ENOENT, syscall.ELOOP, syscall.ENOTDIR, syscall.ENXIO} {
		if errors.Is(err, e) {
			return fmt.Errorf("%v: %w", err, store.ErrChanged) // its kind is ErrChanged alone
		}
	}
	return err
}

func changed(name, how string) error {
	return fmt.Errorf("read %s: %s: %w", name, how, store.ErrChanged)
}
