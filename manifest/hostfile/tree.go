package hostfile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"

	"github.com/nixreg/nixreg/internal/filestamp"
	"github.com/nixreg/nixreg/store"
)

const (
	smallFile = 64 << 10 // up to here a range is read wholly before any of it is handed over
	heldBack  = 4 << 10  // of larger ranges, how many of the last bytes are handed over after the second check
	chunk     = 4 << 20  // between two looks at the context
)

// tree reads what was added: the directory root, or the file called base in it.
type tree struct {
	s    *Store
	path store.Path
	root *os.Root
	base string // "." for a directory
}

// Close implements store.Tree.
func (t *tree) Close() error { return t.root.Close() }

// Nodes implements store.Tree.
func (t *tree) Nodes(ctx context.Context, under string) iter.Seq2[store.Node, error] {
	return func(yield func(store.Node, error) bool) {
		fi, err := t.locate(under)
		if err != nil {
			yield(store.Node{}, fmt.Errorf("nodes of %s: %.300q: %w", t.path, under, err))
			return
		}
		t.walk(ctx, under, fi, yield)
	}
}

// locate looks at the file called name. No symbolic link is followed, not even on the way.
func (t *tree) locate(name string) (fs.FileInfo, error) {
	if !wellFormed(name) {
		return nil, fs.ErrNotExist
	}
	fi, err := t.root.Lstat(t.base)
	for at, rest := "", name; rest != "" && err == nil; {
		if !fi.IsDir() {
			return nil, fs.ErrNotExist
		}
		var part string
		part, rest, _ = strings.Cut(rest, "/")
		at = path.Join(at, part)
		fi, err = t.root.Lstat(at)
	}
	if errors.Is(err, syscall.ENAMETOOLONG) || errors.Is(err, syscall.ENOTDIR) {
		return nil, fmt.Errorf("%w: %w", err, fs.ErrNotExist)
	}
	return fi, err
}

// wellFormed reports whether name can be that of a node: no empty, "." or ".." component, no NUL.
func wellFormed(name string) bool {
	return name == "" || path.Clean("/"+name) == "/"+name && !strings.Contains(name, "\x00")
}

// walk yields the node of fi and all below it, and reports whether to go on.
func (t *tree) walk(ctx context.Context, name string, fi fs.FileInfo, yield func(store.Node, error) bool) bool {
	nd, err := t.node(name, fi)
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	var entries []fs.DirEntry
	if err == nil && fi.IsDir() {
		entries, err = t.readDir(name)
	}
	if err != nil {
		yield(store.Node{}, fmt.Errorf("nodes of %s: %w", t.path, err))
		return false
	}
	if !yield(nd, nil) {
		return false
	}
	for _, e := range entries {
		fi, err := e.Info()
		if err != nil {
			yield(store.Node{}, fmt.Errorf("nodes of %s: %w", t.path, err))
			return false
		}
		if !t.walk(ctx, path.Join(name, e.Name()), fi, yield) {
			return false
		}
	}
	return true
}

// node describes a file as a NAR does.
func (t *tree) node(name string, fi fs.FileInfo) (nd store.Node, err error) {
	nd.Name = name
	switch fi.Mode().Type() {
	case 0:
		nd.Kind, nd.Size, nd.Stamp = store.Regular, fi.Size(), stamp(fi)
		nd.Executable = fi.Mode()&0o100 != 0 // the owner's bit, as Nix has it
	case fs.ModeDir:
		nd.Kind = store.Directory
	case fs.ModeSymlink:
		nd.Kind = store.Symlink
		nd.Target, err = t.root.Readlink(t.file(name))
	default:
		err = fmt.Errorf("%.300q is neither file, directory nor symbolic link (%v): %w", name, fi.Mode().Type(), fs.ErrInvalid)
	}
	return nd, err
}

// file is the name of a node below the root.
func (t *tree) file(name string) string {
	if name == "" {
		return t.base
	}
	return name
}

// readDir returns a directory's entries sorted by the bytes of their names.
func (t *tree) readDir(name string) ([]fs.DirEntry, error) {
	f, err := t.root.OpenFile(t.file(name), os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	entries, err := f.ReadDir(-1)
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return entries, err
}

// WriteFile implements store.Tree.
func (t *tree) WriteFile(ctx context.Context, w io.Writer, nd store.Node, off, n int64) error {
	if nd.Kind != store.Regular || off < 0 || n < 0 || off > nd.Size || n > nd.Size-off {
		return fmt.Errorf("read %s: %.300q: bytes %d+%d of %d: %w", t.path, nd.Name, off, n, nd.Size, fs.ErrInvalid)
	}
	err := t.writeFile(ctx, w, nd, off, n)
	if err != nil {
		return fmt.Errorf("read %s: %.300q: %w", t.path, nd.Name, err)
	}
	return nil
}

func (t *tree) writeFile(ctx context.Context, w io.Writer, nd store.Node, off, n int64) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	f, err := t.root.OpenFile(t.file(nd.Name), os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return gone(err)
	}
	defer f.Close()
	if err := unchanged(f, nd); err != nil {
		return err
	}
	buf := t.s.buffer()
	defer t.s.buffers.Put(buf)
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

func (s *Store) buffer() *[smallFile]byte {
	if b, ok := s.buffers.Get().(*[smallFile]byte); ok {
		return b
	}
	return new([smallFile]byte)
}

// send copies n bytes of f to w, in a form from which a network connection can be served by sendfile.
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

// unchanged checks that f is the file nd was made from.
func unchanged(f *os.File, nd store.Node) error {
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	if !fi.Mode().IsRegular() || fi.Size() != nd.Size || stamp(fi) != nd.Stamp {
		return fmt.Errorf("another kind, size, inode or ctime: %w", store.ErrChanged)
	}
	return nil
}

func shorter(err error) error {
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("it is shorter: %w", store.ErrChanged)
	}
	return err
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

func stamp(fi fs.FileInfo) store.Stamp {
	s, _ := filestamp.Of(fi)
	return store.Stamp{Inode: s.Inode, Ctime: s.Ctime}
}
