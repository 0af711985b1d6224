// Package layer turns a recipe into the bytes of an image layer, and remembers their digest.
//
// It owns the frozen byte layouts ([Format]), the order of names in them, and the table that finds any offset of a
// tar without making the rest ([Layer.WriteRange]). It knows store paths and their files, and nothing of image names,
// tags, image configurations or HTTP.
//
//	m := &layer.Maker{Store: s, Cache: cache, Group: group, Scanning: two, Hashing: four, Uncached: four}
//	info, err := m.Describe(ctx, recipe)          // digest and size; hashed at most once
//	l, err := m.Open(ctx, recipe, info.DiffID)    // the bytes, from any offset
package layer

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"

	"github.com/nixreg/nixreg/manifest/nixdb"
	"github.com/nixreg/nixreg/store"
)

// Format names a frozen byte layout. A layout never changes once released; a different one gets a new name.
type Format string

// The formats.
const (
	// StorePaths is a tar of store paths as nixpkgs' stream_layered_image.py (since 21.11) writes it.
	StorePaths Format = "nixpkgs1"
	// Symlinks is nixpkgs' customisation layer of plain contents: the tree lndir makes, in GNU tar's layout.
	Symlinks Format = "symlinks1"
	// Entries is a few files, directories and links that stand in the recipe itself, in GNU tar's layout.
	Entries Format = "root1"
	// NixDB is the database of a Nix store and what belongs around it, in GNU tar's layout.
	NixDB Format = nixdb.Format
	// Verbatim is the bytes of one regular file of a store path.
	Verbatim Format = "verbatim1"
	// Member is the bytes of one member of an archive, itself a regular file of a store path.
	Member Format = "member1"
)

// Ref is a store path together with the hash of what it holds: a path alone does not fix its bytes.
type Ref struct {
	Path    store.Path `json:"path"`
	NarHash store.Hash `json:"narHash"`
}

// RefOf is the Ref of an object.
func RefOf(o *store.Object) Ref { return Ref{Path: o.Path, NarHash: o.NarHash} }

// Owner is who every entry of a StorePaths layer belongs to.
type Owner struct {
	UID   int64  `json:"uid"`
	GID   int64  `json:"gid"`
	Uname string `json:"uname"`
	Gname string `json:"gname"`
}

// Root is nixpkgs' default owner.
var Root = Owner{Uname: "root", Gname: "root"}

// Recipe is everything the bytes of a layer depend on: equal recipes, equal bytes, for ever.
type Recipe struct {
	Format  Format `json:"format"`
	Objects []Ref  `json:"objects"`       // in the order of the layer; Verbatim and Member have exactly one
	Via     []Ref  `json:"via,omitempty"` // Symlinks: more paths that the bytes depend on
	Owner   Owner  `json:"owner"`         // StorePaths
	MTime   int64  `json:"mtime"`         // StorePaths; Unix seconds
	File    string `json:"file,omitempty"`
	// Offset and Size place a Member in the (decompressed) archive, in bytes.
	Offset  int64   `json:"offset,omitempty"`
	Size    int64   `json:"size,omitempty"`
	Gzip    bool    `json:"gzip,omitempty"`    // the archive is gzipped
	Zstd    bool    `json:"zstd,omitempty"`    // the archive is compressed with zstd
	Entries []Entry `json:"entries,omitempty"` // in the order of the layer
	// Roots are the paths that a NixDB keeps from being collected, and Facts a hash of what else it says of its objects.
	Roots []store.Path `json:"roots,omitempty"`
	Facts string       `json:"facts,omitempty"`
	// Packed is how the bytes of a Verbatim or a Member are compressed as they lie there. They stay so: there is no
	// Encoding then.
	Packed Compression `json:"packed,omitempty"`
	// Encoding is how the bytes are compressed; "" is not at all.
	Encoding Encoding `json:"encoding,omitempty"`
}

// first names the first object, for messages; "" if there is none.
func (r Recipe) first() string {
	if len(r.Objects) == 0 {
		return ""
	}
	return " of " + string(r.Objects[0].Path)
}

// plain is the recipe of the same bytes uncompressed.
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
