package manifest

import (
	"cmp"
	"context"
	"slices"

	"github.com/nixreg/nixreg/manifest/layer"
	"github.com/nixreg/nixreg/store"
)

// hashOrder is the order in which layers are hashed: the largest first, so that none of them is left for the end.
func (b *draft) hashOrder() []int {
	order := make([]int, len(b.layers))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, k int) int { return cmp.Compare(b.layers[k].size, b.layers[i].size) })
	return order
}

// fetch begins to fetch the paths that the layers will be hashed from, in that order. Layers whose digests are remembered
// are not hashed.
func (b *draft) fetch(ctx context.Context, m *layer.Maker, order []int) {
	if !store.IsDistant(m.Store) {
		return
	}
	var paths []store.Path
	seen := make(map[store.Path]bool)
	for _, i := range order {
		r := b.layers[i].recipe
		if r.Format == layer.NixDB || remembers(ctx, m, r) { // a database is made of what is known of paths
			continue
		}
		for _, o := range r.Objects {
			if !seen[o.Path] {
				seen[o.Path] = true
				paths = append(paths, o.Path)
			}
		}
	}
	store.Prefetch(ctx, m.Store, paths)
}

// remembers reports whether there is a record of the recipe's bytes.
func remembers(ctx context.Context, m *layer.Maker, r layer.Recipe) bool {
	_, err := m.Cache.Get(ctx, "layer/"+r.ID())
	return err == nil
}
