package local

import (
	"cmp"
	"context"
	"errors"
	"fmt"
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

// tree holds no file open: a path may be deleted beside it, and its reads then say so.
type tree struct {
	s *Store
	p store.Path
}

// Close implements store.Tree.
func (t *tree) Close() error { return nil }

// Nodes implements store.Tree.
func (t *tree) Nodes(ctx context.Context, under string) iter.Seq2[store.Node, error] {
	return func(yield func(store.Node, error) bool) {
		fi, err := t.locate(under)
		if err != nil {
			yield(store.Node{}, fmt.Errorf("nodes of %s: %.300q: %w", t.p, under, err))
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
	at := t.file("")
	fi, err := os.Lstat(at)
	for rest := name; rest != "" && err == nil; {
		if !fi.IsDir() {
			return nil, fs.ErrNotExist
		}
		var part string
		part, rest, _ = strings.Cut(rest, "/")
		at += "/" + part
		fi, err = os.Lstat(at)
	}
	if errors.Is(err, syscall.ENAMETOOLONG) || errors.Is(err, syscall.ENOTDIR) {
		return nil, fmt.Errorf("%w: %w", err, fs.ErrNotExist)
	}
	return fi, err
}

// walk yields the node of fi and all below it, and reports whether to go on.
func (t *tree) walk(ctx context.Context, name string, fi fs.FileInfo, yield func(store.Node, error) bool) bool {
	nd, err := t.node(name, fi)
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	if err != nil {
		yield(store.Node{}, fmt.Errorf("nodes of %s: %w", t.p, err))
		return false
	}
	if !yield(nd, nil) {
		return false
	}
	if nd.Kind != store.Directory {
		return true
	}
	entries, err := readDir(t.file(name))
	if err != nil {
		yield(store.Node{}, fmt.Errorf("nodes of %s: %w", t.p, err))
		return false
	}
	for _, e := range entries {
		fi, err := e.Info()
		if err != nil {
			yield(store.Node{}, fmt.Errorf("nodes of %s: %w", t.p, err))
			return false
		}
		if !t.walk(ctx, join(name, e.Name()), fi, yield) {
			return false
		}
	}
	return true
}

// node describes a file as a NAR does.
func (t *tree) node(name string, fi fs.FileInfo) (store.Node, error) {
	nd := store.Node{Name: name}
	switch fi.Mode().Type() {
	case 0:
		nd.Kind = store.Regular
		nd.Executable = fi.Mode()&0o100 != 0 // the owner's bit, as Nix has it
		nd.Size = fi.Size()
		nd.Stamp = stamp(fi)
	case fs.ModeDir:
		nd.Kind = store.Directory
	case fs.ModeSymlink:
		nd.Kind = store.Symlink
		target, err := os.Readlink(t.file(name))
		if err != nil {
			return nd, err
		}
		nd.Target = target
	default:
		return nd, fmt.Errorf("%s is neither file, directory nor symbolic link (%v): %w", t.file(name), fi.Mode().Type(), fs.ErrInvalid)
	}
	return nd, nil
}

func stamp(fi fs.FileInfo) store.Stamp {
	s, _ := filestamp.Of(fi)
	return store.Stamp{Inode: s.Inode, Ctime: s.Ctime}
}

// file is where the node called name lies on disk.
func (t *tree) file(name string) string { return join(path.Join(t.s.dir, string(t.p)), name) }

func join(dir, name string) string {
	if dir == "" || name == "" {
		return cmp.Or(dir, name)
	}
	return dir + "/" + name
}

// readDir returns a directory's entries sorted by the bytes of their names.
func readDir(dir string) ([]fs.DirEntry, error) {
	f, err := os.OpenFile(dir, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	entries, err := f.ReadDir(-1)
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return entries, err
}

// wellFormed reports whether name can be that of a node: no empty, "." or ".." component, no NUL.
func wellFormed(name string) bool {
	if name == "" {
		return true
	}
	if strings.Contains(name, "\x00") {
		return false
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || part == "." || part == ".." {
			return false
		}
	}
	return true
}
