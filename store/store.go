// Package store is nixreg's view of Nix: store paths, their metadata, and their files.
//
// It owns the types [Path], [Object] and [Node], and the two contracts of every kind of store, [Store] and [Tree];
// store/storetest checks them. Concrete stores live below it (store/local, store/binarycache). It must not know OCI,
// HTTP serving or caches of digests, and imports only the standard library.
//
//	obj, err := s.Object(ctx, path)       // is it valid, what does it refer to?
//	tree, err := s.Open(ctx, path)        // its files
//	defer tree.Close()
//	for node, err := range tree.Nodes(ctx, "") { … }
package store

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"iter"
)

// ErrChanged is matched by the error of a read of a file that has changed since its [Node] was made.
var ErrChanged = errors.New("changed on disk")

// ErrUnavailable is matched by the error of a store that cannot be asked now: it is out of reach, refuses requests for a
// while, or does not accept the credentials. It is not known whether the path is valid there.
var ErrUnavailable = errors.New("store unavailable")

// Unavailable stands for a store or channel that cannot be asked in the State of several.
const Unavailable = "unavailable"

// ErrExplained is matched, beside [fs.ErrNotExist], by an error that says why a path is absent: it was deleted, say, or no
// trusted key has signed it.
var ErrExplained error = explainedError{}

type explainedError struct{}

func (explainedError) Error() string        { return fs.ErrNotExist.Error() }
func (explainedError) Is(target error) bool { return target == fs.ErrNotExist }

// Entry is one line of a store's listing.
type Entry struct {
	Path       Path
	Deriver    Path   // the .drv that built it; "" where unknown
	Registered int64  // Unix seconds; 0 where the store does not know
	CA         string // content address ("fixed:…", "text:…"); "" for input-addressed paths, and where it is not known
}

// Object is the metadata of one valid path.
type Object struct {
	Entry
	NarHash    Hash   // of the path's NAR
	NarSize    int64  // bytes
	References []Path // sorted; includes the path itself if it refers to itself
}

// Store reads one Nix store. All methods are safe for concurrent use. A path that is not valid in the store gives an error
// matching [io/fs.ErrNotExist], even if files of that name are on disk.
type Store interface {
	// Find returns the valid path with this 32-character hash part.
	Find(ctx context.Context, hash string) (Path, error)
	// Object returns the metadata of p.
	Object(ctx context.Context, p Path) (*Object, error)
	// Open returns the files of p. The caller closes the Tree.
	Open(ctx context.Context, p Path) (Tree, error)
	// List yields every valid path once. Of two paths of equal name and version the preferred one comes first.
	// A store that cannot list yields one error matching errors.ErrUnsupported. Iteration ends after an error.
	List(ctx context.Context) iter.Seq2[Entry, error]
	// State returns an opaque string. While it stays the same, the answers of Find, Object and List stay the same.
	// It is cheap enough to be called on each request.
	State(ctx context.Context) (string, error)
}

// Distant is an optional ability of a [Store]. Callers do not open a path of a distant store only to look at it.
type Distant interface {
	// Distant reports whether Open may download a path.
	Distant() bool
}

// Prefetcher is an optional ability of a [Store] whose Open takes long.
type Prefetcher interface {
	// Prefetch starts to download paths that Open will be asked for, in this order, and returns at once. The store decides
	// how many it downloads ahead. The work ends when ctx ends or the store is closed. Open meets its errors again.
	Prefetch(ctx context.Context, paths []Path)
}

// Refuser is an optional ability of a [Store] that does not serve all the paths it has.
type Refuser interface {
	// Refused returns why the store does not serve a path for which match is true: an error matching [ErrExplained], whose
	// method Public gives the text for clients; nil if the store knows of none. It asks nobody. match must not call the store.
	Refused(match func(Path) bool) error
}

// Hashed is an optional ability of a [Tree]. Its files are those of one NAR, even if the store has another one by now.
type Hashed interface {
	// NarHash is the hash of that NAR.
	NarHash() Hash
}

// Package is a path that a [Channel] names.
type Package struct {
	Path  Path
	Names []string // attribute paths, such as "python3Packages.requests"
	// Output is the name of the output, such as "out", with which the name of the path ends unless it is "out"; "" where it is not
	// known.
	Output string
	// Main says that meta.outputsToInstall has the path first, where that is not what the names of the outputs tell: bin, else out.
	Main bool
	// Program is meta.mainProgram, where it is known and is not the name of the package; else "".
	Program string
}

// Channel names paths. Their files are in stores. Safe for concurrent use.
type Channel interface {
	// Name is the channel's name, such as "nixos-unstable".
	Name() string
	// Packages yields every path of the channel once. Of two paths of equal name and version the preferred one comes first.
	// A channel that was not read yet gives an error matching [ErrUnavailable]. Iteration ends after an error.
	Packages(ctx context.Context) iter.Seq2[Package, error]
	// State returns an opaque string, as [Store].State does. It is cheap.
	State(ctx context.Context) (string, error)
}

// Kind is the kind of a [Node]. A NAR has no others.
type Kind uint8

// The kinds of nodes.
const (
	Regular Kind = iota + 1
	Directory
	Symlink
)

// Node is one file, directory or symbolic link of a store path, as a NAR describes it.
type Node struct {
	Name       string // relative to the store path, "/" between components, arbitrary bytes; "" is the path itself
	Kind       Kind
	Executable bool   // regular files
	Size       int64  // bytes, regular files
	Target     string // symbolic links, verbatim
	Stamp      Stamp  // regular files
}

// Stamp shows whether a file on disk is still the same file. Files of a verified NAR have the zero Stamp.
type Stamp struct {
	Inode uint64
	Ctime int64 // nanoseconds since 1970
}

// Tree is the files of one store path. Safe for concurrent use until closed.
type Tree interface {
	// Nodes yields the node called under ("" for the whole path) and, if that is a directory, everything below it:
	// depth first, a directory before its children, siblings by the byte order of their names. Symbolic links are
	// yielded, never followed. A name that does not exist, or that lies beyond a symbolic link, gives an error
	// matching io/fs.ErrNotExist; devices, sockets and pipes one matching io/fs.ErrInvalid. Iteration ends after
	// an error.
	Nodes(ctx context.Context, under string) iter.Seq2[Node, error]

	// WriteFile writes n bytes of the regular file nd to w, from byte off on; off and n lie within nd.Size.
	// Nodes has yielded nd, perhaps long ago or from another Tree of the same path. If the file on disk has no longer
	// nd's size and stamp, WriteFile gives an error matching ErrChanged. It checks them before the first byte and again
	// before the last ones, so a changed file never arrives complete.
	// If w is an io.ReaderFrom, it gets large files as an io.LimitedReader over an *os.File (for sendfile).
	WriteFile(ctx context.Context, w io.Writer, nd Node, off, n int64) error

	// Close frees the files that the Tree holds open.
	io.Closer
}
