package realise

import (
	"context"
	"errors"
	"io/fs"
	"slices"

	"github.com/nixreg/nixreg/internal/lru"
	"github.com/nixreg/nixreg/store"
)

// Holder holds closures of which the local store may have only a part. Nix must not fetch a path that another store serves. Of such a
// path, Holder holds only the references that the local store has. Safe for concurrent use.
type Holder struct {
	roots      *Roots
	local, all store.Store
	frontiers  lru.Cache[string, []store.Path] // by key and paths
}

// NewHolder returns a Holder that holds, with r, the paths of all that are in local. local is the store of this machine's Nix, without
// rebuilds.
func NewHolder(r *Roots, local, all store.Store) *Holder {
	return &Holder{roots: r, local: local, all: all, frontiers: lru.Cache[string, []store.Path]{Max: resultBytes}}
}

// Hold holds the part of the closures of paths that the local store has, as [Roots.Hold] does. A path that no store has is left to Nix,
// which may fetch it; if it cannot, the error matches [fs.ErrNotExist] and names it. If a store cannot be asked, Hold holds only the
// paths that the local store has.
func (h *Holder) Hold(ctx context.Context, key string, paths []store.Path) error {
	paths = slices.Compact(slices.Sorted(slices.Values(paths)))
	which := key + " " + batchName(paths)
	if held, ok := h.frontiers.Get(which); ok {
		if err := h.roots.Hold(ctx, key, held); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	held, whole, err := h.frontier(ctx, paths)
	if err != nil {
		return err
	}
	if err := h.roots.Hold(ctx, key, held); err != nil {
		return err
	}
	if whole {
		h.frontiers.Put(which, held, int64(len(which))+weighPaths(held))
	}
	return nil
}

// Touch is [Roots.Touch].
func (h *Holder) Touch(key string) { h.roots.Touch(key) }

// frontier returns the paths to hold for the closures of paths. A valid path of the local store has its whole closure there. whole
// reports whether all stores could be asked.
func (h *Holder) frontier(ctx context.Context, paths []store.Path) (held []store.Path, whole bool, err error) {
	held, far, err := h.divide(ctx, paths)
	if err != nil || len(far) == 0 {
		return held, true, err
	}
	var known []store.Path
	for _, p := range far {
		switch _, err := h.all.Object(ctx, p); {
		case errors.Is(err, store.ErrUnavailable):
			return held, false, nil
		case errors.Is(err, fs.ErrNotExist):
			held = append(held, p)
		case err != nil:
			return nil, false, err
		default:
			known = append(known, p)
		}
	}
	objects, err := store.Closure(ctx, h.all, known...)
	if errors.Is(err, store.ErrUnavailable) {
		return held, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	below, err := h.nearest(ctx, known, objects)
	return append(held, below...), true, err
}

// divide splits paths into the ones that the local store has, and the others.
func (h *Holder) divide(ctx context.Context, paths []store.Path) (local, far []store.Path, err error) {
	for _, p := range paths {
		switch _, err := h.local.Object(ctx, p); {
		case err == nil:
			local = append(local, p)
		case errors.Is(err, fs.ErrNotExist):
			far = append(far, p)
		default:
			return nil, nil, err
		}
	}
	return local, far, nil
}

// nearest returns the paths of the local store that paths refer to, directly or through paths of other stores.
func (h *Holder) nearest(ctx context.Context, paths []store.Path, closure []*store.Object) ([]store.Path, error) {
	refs := make(map[store.Path][]store.Path, len(closure))
	for _, o := range closure {
		refs[o.Path] = o.References
	}
	seen := make(map[store.Path]bool, len(closure))
	var found []store.Path
	for level := paths; len(level) > 0; {
		local, far, err := h.divide(ctx, level)
		if err != nil {
			return nil, err
		}
		found = append(found, local...)
		level = nil
		for _, p := range far {
			for _, r := range refs[p] {
				if !seen[r] {
					seen[r] = true
					level = append(level, r)
				}
			}
		}
	}
	return found, nil
}
