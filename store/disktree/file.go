package disktree

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"github.com/nixreg/nixreg/internal/filestamp"
	"github.com/nixreg/nixreg/store"
)

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
	_, err = filestamp.WriteRange(ctx, w, f, off, n, func() error { return unchanged(f, nd) })
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("it is shorter: %w", store.ErrChanged)
	}
	return err
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

// gone makes ErrChanged of the error for a name that leads to no file any more: there was one.
func gone(err error) error {
	for _, e := range []error{syscall.ENOENT, syscall.ELOOP, syscall.ENOTDIR, syscall.ENXIO} {
		if errors.Is(err, e) {
			return fmt.Errorf("%v: %w", err, store.ErrChanged) // its kind is ErrChanged alone
		}
	}
	return err
}
