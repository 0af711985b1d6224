// Package disktree reads the files of a store path that lie on disk.
//
// It owns the walk in the order of a NAR, and reads that notice a file which has changed. It must not know where the
// files lie, which paths are valid, or what is read: the stores that have files on disk (store/local, store/hostfile) say
// that.
//
//	tree := &disktree.Tree{Path: p, Files: disktree.Dir("/nix/store"), Base: string(p)}
//	for node, err := range tree.Nodes(ctx, "") { … }
package disktree

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

// Files gives access to a directory. No method follows a symbolic link in the last component of a name; OpenFile is told
// so by its flag. [os.Root] follows none that leads out of its directory; [Dir] follows those on the way.
type Files interface {
	Lstat(name string) (fs.FileInfo, error)
	Readlink(name string) (string, error)
	OpenFile(name string, flag int, perm fs.FileMode) (*os.File, error)
}

// Dir is a directory to whose contents nobody adds symbolic links: the Nix store. It keeps no file open.
type Dir string

// Lstat implements Files.
func (d Dir) Lstat(name string) (fs.FileInfo, error) { return os.Lstat(string(d) + "/" + name) }

// Readlink implements Files.
func (d Dir) Readlink(name string) (string, error) { return os.Readlink(string(d) + "/" + name) }

// OpenFile implements Files.
func (d Dir) OpenFile(name string, flag int, perm fs.FileMode) (*os.File, error) {
	return os.OpenFile(string(d)+"/"+name, flag, perm)
}

// Tree is a [store.Tree]. Safe for concurrent use.
type Tree struct {
	Path  store.Path // in errors
	Files Files      // closed by Close if it is an [io.Closer]
	Base  string     // the name of the path itself within Files; "." is the directory
}

// Close implements store.Tree.
func (t *Tree) Close() error {
	if c, ok := t.Files.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

// Nodes implements store.Tree.
func (t *Tree) Nodes(ctx context.Context, under string) iter.Seq2[store.Node, error] {
	return func(yield func(store.Node, error) bool) {
		fi, err := t.locate(under)
		if err != nil {
			yield(store.Node{}, fmt.Errorf("nodes of %s: %.300q: %w", t.Path, under, err))
			return
		}
		t.walk(ctx, under, fi, yield)
	}
}

// locate looks at the node called name. No symbolic link is followed, not even on the way.
func (t *Tree) locate(name string) (fs.FileInfo, error) {
	if !wellFormed(name) {
		return nil, fs.ErrNotExist
	}
	at := t.Base
	fi, err := t.Files.Lstat(at)
	for rest := name; rest != "" && err == nil; {
		if !fi.IsDir() {
			return nil, fs.ErrNotExist
		}
		var part string
		part, rest, _ = strings.Cut(rest, "/")
		at += "/" + part
		fi, err = t.Files.Lstat(at)
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

// walk yields the node of fi and all nodes below it. It reports whether the iteration goes on.
func (t *Tree) walk(ctx context.Context, name string, fi fs.FileInfo, yield func(store.Node, error) bool) bool {
	nd, err := t.node(name, fi)
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	var entries []fs.DirEntry
	if err == nil && fi.IsDir() {
		entries, err = t.readDir(name)
	}
	if err != nil {
		yield(store.Node{}, fmt.Errorf("nodes of %s: %w", t.Path, err))
		return false
	}
	if !yield(nd, nil) {
		return false
	}
	for _, e := range entries {
		fi, err := e.Info()
		if err != nil {
			yield(store.Node{}, fmt.Errorf("nodes of %s: %w", t.Path, err))
			return false
		}
		below := e.Name()
		if name != "" {
			below = name + "/" + below
		}
		if !t.walk(ctx, below, fi, yield) {
			return false
		}
	}
	return true
}

// node describes a file as a NAR does.
func (t *Tree) node(name string, fi fs.FileInfo) (nd store.Node, err error) {
	nd.Name = name
	switch fi.Mode().Type() {
	case 0:
		nd.Kind, nd.Size, nd.Stamp = store.Regular, fi.Size(), stamp(fi)
		nd.Executable = fi.Mode()&0o100 != 0 // Nix looks at the owner's bit
	case fs.ModeDir:
		nd.Kind = store.Directory
	case fs.ModeSymlink:
		nd.Kind = store.Symlink
		nd.Target, err = t.Files.Readlink(t.file(name))
	default:
		err = fmt.Errorf("%.300q is neither file, directory nor symbolic link (%v): %w", name, fi.Mode().Type(), fs.ErrInvalid)
	}
	return nd, err
}

func stamp(fi fs.FileInfo) store.Stamp {
	s, _ := filestamp.Of(fi)
	return store.Stamp{Inode: s.Inode, Ctime: s.Ctime}
}

// file is the name of a node within Files.
func (t *Tree) file(name string) string {
	if name == "" {
		return t.Base
	}
	return t.Base + "/" + name
}

// readDir returns the entries of a directory, sorted by the bytes of their names.
func (t *Tree) readDir(name string) ([]fs.DirEntry, error) {
	f, err := t.Files.OpenFile(t.file(name), os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	entries, err := f.ReadDir(-1)
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return entries, err
}
