package layer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"github.com/nixreg/nixreg/manifest/nixdb"
	"github.com/nixreg/nixreg/store"
)

// NixDBRecipe returns the recipe of a layer with the database of a Nix store, in which objects are valid, and with GC roots.
// objects must be sorted by path, and must contain all their references and all roots. All entries of the layer belong to owner.
func NixDBRecipe(objects []*store.Object, roots []store.Path, owner Owner) Recipe {
	r := Recipe{Format: NixDB, Roots: roots, Facts: facts(objects)}
	if owner.UID != 0 || owner.GID != 0 { // else the recipe is that of earlier versions
		r.Owner = Owner{UID: owner.UID, GID: owner.GID}
	}
	for _, o := range objects {
		r.Objects = append(r.Objects, RefOf(o))
	}
	return r
}

// facts is a hash of the sizes and references of objects, which the database contains. It has no derivers, signatures or times:
// these differ between stores.
func facts(objects []*store.Object) string {
	type fact struct {
		NarSize    int64
		References []store.Path
	}
	all := make([]fact, len(objects))
	for i, o := range objects {
		all[i] = fact{o.NarSize, o.References}
	}
	b, err := json.Marshal(all)
	if err != nil {
		panic("layer: facts cannot be encoded: " + err.Error()) // strings and integers always can
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// openNixDB makes the body of a NixDB recipe: the files of package nixdb in the layout of a Symlinks layer.
func openNixDB(ctx context.Context, s store.Store, r Recipe) (body, error) {
	objects := make([]*store.Object, len(r.Objects))
	paths := make([]nixdb.Path, len(r.Objects))
	for i, ref := range r.Objects {
		o, err := s.Object(ctx, ref.Path)
		if err != nil {
			return nil, err
		}
		objects[i] = o
		paths[i] = nixdb.Path{Path: o.Path.Abs(), NarHash: "sha256:" + hex.EncodeToString(o.NarHash[:]), NarSize: o.NarSize}
		for _, p := range o.References {
			paths[i].References = append(paths[i].References, p.Abs())
		}
	}
	if facts(objects) != r.Facts {
		return nil, fmt.Errorf("nix database: sizes or references are others than they were: %w", fs.ErrNotExist)
	}
	var roots []string
	for _, p := range r.Roots {
		roots = append(roots, p.Abs())
	}
	files, err := nixdb.Files(paths, roots)
	if err != nil {
		return nil, err
	}
	b := appendGNU(nil, "./", "", 0o755, typeDirectory)
	for _, f := range files {
		e := Entry{Name: f.Name, Mode: int64(f.Mode.Perm()), Link: f.Link, Data: string(f.Data), UID: r.Owner.UID, GID: r.Owner.GID}
		switch {
		case f.Mode.IsDir():
			e.Name += "/"
		case f.Mode.IsRegular() && len("./"+f.Name) > 100:
			return nil, fmt.Errorf("nix database: name %q is too long: %w", f.Name, errors.ErrUnsupported)
		}
		b = e.append(b)
	}
	return literal(appendZeros(b, ArchiveEnd(int64(len(b))))), nil
}
