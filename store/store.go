// Package store is nixreg's view of Nix: store paths, what is known of them, and the files they hold.
//
// It owns the words ([Path], [Object], [Node]) and the two contracts every kind of store fulfils ([Store], [Tree]);
// store/storetest checks them. Concrete stores live below (store/local, store/binarycache). It knows nothing of OCI,
// of HTTP serving or of any cache of digests, and needs only the standard library.
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

// ErrChanged is matched by the error of a read that met a file which is no longer what its [Node] describes.
var ErrChanged = errors.New("changed on disk")

// ErrUnavailable is matched by the error of a store that cannot be asked now: it is out of reach, refuses for a while, or
// does not take our credentials. Whether the path is valid there is not known.
var ErrUnavailable = errors.New("store unavailable")

// Unavailable is the word for a store or channel that cannot be asked, in a state that is made of several.
const Unavailable = "unavailable"

// ErrExplained is matched, beside [fs.ErrNotExist], by the error for an absent path that says why it is absent: it was there,
// or something is that cannot be taken for it.
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

// Object is what a store knows of one valid path.
type Object struct {
	Entry
	NarHash    Hash   // of the path's NAR
	NarSize    int64  // bytes
	References []Path // sorted; a path that mentions itself is among its own
}

// Store reads one Nix store. All methods are safe for concurrent use. A path that is not valid in the store, even
// where files of that name lie on disk, gives an error matching [io/fs.ErrNotExist].
type Store interface {
	// Find returns the valid path with this 32-character hash part.
	Find(ctx context.Context, hash string) (Path, error)
	// Object returns what the store knows of p.
	Object(ctx context.Context, p Path) (*Object, error)
	// Open returns the files of p. The caller closes the Tree.
	Open(ctx context.Context, p Path) (Tree, error)
	// List yields every valid path, each once; the order is the store's own order of preference among equals.
	// A store that cannot list yields one error matching errors.ErrUnsupported. Iteration ends after an error.
	List(ctx context.Context) iter.Seq2[Entry, error]
	// State is an opaque string: as long as it stays the same, so do the answers of Find, Object and List.
	// It is cheap: fit to be asked on each request.
	State(ctx context.Context) (string, error)
}

// Distant is an optional ability of a [Store]. Nobody opens a path of a distant store only to see what it is.
type Distant interface {
	// Distant reports whether Open may have to fetch a path from afar.
	Distant() bool
}

// Prefetcher is an optional ability of a [Store] whose Open takes long.
type Prefetcher interface {
	// Prefetch begins to make ready what Open will be asked for, in this order, and returns at once. How far ahead it works
	// is the store's own matter. The work goes on until ctx ends or the store is closed; its errors are met again by Open.
	Prefetch(ctx context.Context, paths []Path)
}

// Hashed is an optional ability of a [Tree]: it knows which NAR its files are of, whatever the store says of the path by now.
type Hashed interface {
	NarHash() Hash
}

// Package is a path that a [Channel] names.
type Package struct {
	Path  Path
	Names []string // what it is called beside the path's own name: attribute paths, as "python3Packages.requests"
}

// Channel names paths without having them: stores do. Safe for concurrent use.
type Channel interface {
	// Name is what people call it: "nixos-unstable".
	Name() string
	// Packages yields the paths of the channel, each once, in its order of preference among equals. A channel that was not
	// read yet gives an error matching [ErrUnavailable]. Iteration ends after an error.
	Packages(ctx context.Context) iter.Seq2[Package, error]
	// State stays the same as long as the packages do. It is cheap.
	State(ctx context.Context) (string, error)
}

// Kind is what a [Node] is. There are no others in a NAR.
type Kind uint8

// The kinds of nodes.
const (
	Regular Kind = iota + 1
	Directory
	Symlink
)

// Node is one file, directory or symbolic link of a store path, as its NAR would describe it.
type Node struct {
	Name       string // relative to the store path, "/" between components, arbitrary bytes; "" is the path itself
	Kind       Kind
	Executable bool   // regular files
	Size       int64  // bytes, regular files
	Target     string // symbolic links, verbatim
	Stamp      Stamp  // regular files
}

// Stamp tells whether a file on disk is still the one that was looked at. Files whose bytes are fixed by other means
// (a verified NAR) have the zero Stamp.
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

	// WriteFile writes n bytes of the regular file nd, from byte off on, to w; off and n lie within nd.Size.
	// nd is one that Nodes yielded, maybe long ago or from another Tree of the same path: if the file on disk no
	// longer has nd's size and stamp, WriteFile gives an error matching ErrChanged. That is checked before the first
	// byte and again before the last ones are handed over, so a changed file never arrives complete.
	// Where w is an io.ReaderFrom, large files reach it as an io.LimitedReader over an *os.File (for sendfile).
	WriteFile(ctx context.Context, w io.Writer, nd Node, off, n int64) error

	// Close frees what the Tree holds.
	io.Closer
}
