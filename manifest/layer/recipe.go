// Package layer makes the bytes of an image layer from a recipe, and records their digest.
//
// It owns the byte layouts ([Format]), the order of names in them, the encodings ([Encoding]) with all their properties, the
// cache of encoded layers, and the table by which any range of a tar is written without the bytes before it
// ([Layer.WriteRange]). It must not know image names, tags, image configurations or HTTP.
//
//	m := &layer.Maker{Store: s, Cache: cache, Group: group, Scanning: two, Hashing: four, Uncached: four}
//	info, err := m.Describe(ctx, recipe)          // digest and size; hashed at most once
//	l, err := m.Open(ctx, recipe, info.DiffID)    // the bytes, from any offset
package layer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"slices"

	"github.com/nixreg/nixreg/manifest/nixdb"
	"github.com/nixreg/nixreg/store"
)

// Format names a byte layout. A released layout never changes; a different layout gets a new name.
type Format string

// The formats.
const (
	// StorePaths is a tar of store paths as nixpkgs' stream_layered_image.py (since 21.11) writes it.
	StorePaths Format = "nixpkgs1"
	// Symlinks is nixpkgs' customisation layer of plain contents: the tree lndir makes, in GNU tar's layout.
	Symlinks Format = "symlinks1"
	// Entries is a tar of the few files, directories and links in the recipe itself, in GNU tar's layout.
	Entries Format = "root1"
	// NixDB is a tar of the database of a Nix store, its directories and its GC roots, in GNU tar's layout.
	NixDB Format = nixdb.Format
	// Verbatim is the bytes of one regular file of a store path.
	Verbatim Format = "verbatim1"
	// Member is the bytes of one member of an archive, itself a regular file of a store path.
	Member Format = "member1"
)

// Ref is a store path with the hash of its contents. A path alone does not fix its bytes.
type Ref struct {
	Path    store.Path `json:"path"`
	NarHash store.Hash `json:"narHash"`
}

// RefOf is the Ref of an object.
func RefOf(o *store.Object) Ref { return Ref{Path: o.Path, NarHash: o.NarHash} }

// Owner is the owner of every entry of a StorePaths layer.
type Owner struct {
	UID   int64  `json:"uid"`
	GID   int64  `json:"gid"`
	Uname string `json:"uname"`
	Gname string `json:"gname"`
}

// Root is the default owner in nixpkgs.
var Root = Owner{Uname: "root", Gname: "root"}

// Entry is one file of an Entries layer.
type Entry struct {
	Name string `json:"name"` // relative to the image's root; of a directory it ends in "/"
	Mode int64  `json:"mode"`
	Link string `json:"link,omitempty"` // the target, if it is a symbolic link
	Data string `json:"data,omitempty"` // the contents of a file
	UID  int64  `json:"uid,omitempty"`
	GID  int64  `json:"gid,omitempty"`
}

// Recipe is all that the bytes of a layer depend on. Equal recipes have equal bytes in all versions of nixreg.
type Recipe struct {
	Format  Format `json:"format"`
	Objects []Ref  `json:"objects"`       // in the order of the layer; Verbatim and Member have exactly one
	Via     []Ref  `json:"via,omitempty"` // Symlinks: more paths that the bytes depend on
	Owner   Owner  `json:"owner"`         // StorePaths; NixDB, of which only the numbers count
	MTime   int64  `json:"mtime"`         // StorePaths; Unix seconds
	File    string `json:"file,omitempty"`
	// Offset and Size place a Member in the (decompressed) archive, in bytes.
	Offset  int64   `json:"offset,omitempty"`
	Size    int64   `json:"size,omitempty"`
	Gzip    bool    `json:"gzip,omitempty"`    // the archive is gzipped
	Zstd    bool    `json:"zstd,omitempty"`    // the archive is compressed with zstd
	Entries []Entry `json:"entries,omitempty"` // in the order of the layer
	// Roots are the GC roots of a NixDB. Facts is a hash of its sizes and references.
	Roots []store.Path `json:"roots,omitempty"`
	Facts string       `json:"facts,omitempty"`
	// Packed is the compression of the bytes of a Verbatim or a Member in the store. They are served as they are, without an
	// Encoding.
	Packed Compression `json:"packed,omitempty"`
	// Encoding is how nixreg compresses the bytes.
	Encoding Encoding `json:"encoding,omitempty"`
}

// MediaTypes returns the media types of the bytes that the recipe serves.
func (r Recipe) MediaTypes() MediaTypes { return codingOf(r.Encoding, r.Packed).media }

// first names the first object for error texts; "" if there is none.
func (r Recipe) first() string {
	if len(r.Objects) == 0 {
		return ""
	}
	return " of " + string(r.Objects[0].Path)
}

// plain is the recipe of the same tar without an encoding.
func (r Recipe) plain() Recipe {
	r.Encoding = ""
	return r
}

// ID is the SHA-256, in hex, of the recipe's canonical encoding.
func (r Recipe) ID() string {
	b, err := json.Marshal(r)
	if err != nil {
		panic("layer: recipe cannot be encoded: " + err.Error()) // strings, integers and booleans always can
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// exact is a store that opens only the NARs of a recipe. After the check of a path's NarHash the store may get another build of
// the path, or another store of a union may answer. A tree that tells the NarHash of its files must have the recipe's.
type exact struct {
	store.Store
	recipe *Recipe
}

// Open implements store.Store.
func (e exact) Open(ctx context.Context, p store.Path) (store.Tree, error) {
	t, err := e.Store.Open(ctx, p)
	if err != nil {
		return nil, err
	}
	h, ok := t.(store.Hashed)
	if !ok {
		return t, nil
	}
	for _, refs := range [][]Ref{e.recipe.Objects, e.recipe.Via} {
		i := slices.IndexFunc(refs, func(r Ref) bool { return r.Path == p })
		if i >= 0 && refs[i].NarHash != h.NarHash() {
			t.Close()
			return nil, replaced(p)
		}
	}
	return t, nil
}

func replaced(p store.Path) error { return replacedError(p) }

// replacedError matches fs.ErrNotExist. Clients may read its text: a client that knows the image knows the name of the path.
type replacedError store.Path

func (e replacedError) Error() string {
	return fmt.Sprintf("store path %s was replaced by one with other contents", string(e))
}

func (e replacedError) Public() string { return e.Error() }

func (e replacedError) Unwrap() error { return fs.ErrNotExist }
