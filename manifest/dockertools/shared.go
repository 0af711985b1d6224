package dockertools

import (
	"cmp"
	"math/bits"
	"slices"

	"github.com/nixreg/nixreg/store"
)

// PlanShared divides a closure into at most maxLayers-1 layers, bottom first, so that images have equal layers below different ones.
// It is nixreg's own order of layers with nixpkgs' bytes.
//
// containerd, Docker and podman unpack a layer once for each chain of layers below it. So what many images have comes first: paths
// that are large, and that many paths of the closure depend on. What changes most often comes last: the contents. The key is
// (dependents within the closure + 1) × size, descending; for equal keys it is the order of names. If there are more paths than layers,
// the last ones of the key share a layer, which is below those of the contents. closure must be sorted by path and contain every
// reference.
func PlanShared(closure []*store.Object, contents []store.Path, maxLayers int) [][]store.Path {
	available := maxLayers - 1
	if len(closure) == 0 || available < 1 {
		return nil
	}
	shared, own := newGraph(closure, [2]Hidden{}).byShare(contents)
	last := singles(own, available)
	if len(shared) > 0 && len(last) == available { // the last layer takes what is left
		last = singles(own, max(1, available-1))
	}
	if len(shared) == 0 || available == 1 {
		return singles(slices.Concat(shared, own), available)
	}
	return append(singles(shared, available-len(last)), last...)
}

// singles returns a layer for each path. If there are more than most, the last layer has all further paths.
func singles(paths []store.Path, most int) [][]store.Path {
	var layers [][]store.Path
	for i, p := range paths {
		if len(layers) == most-1 && len(paths) > most {
			rest := slices.Clone(paths[i:])
			slices.SortFunc(rest, compareNames)
			return append(layers, rest)
		}
		layers = append(layers, []store.Path{p})
	}
	return layers
}

// byShare returns the paths that are no contents, in the order of the key, and the contents.
func (g *graph) byShare(contents []store.Path) (shared, own []store.Path) {
	order := slices.DeleteFunc(slices.Clone(g.nodes), func(n graphNode) bool { return n.path == "" })
	slices.SortFunc(order, func(a, b graphNode) int { return cmp.Or(compareShare(a, b), compareNames(a.path, b.path)) })
	for _, n := range order {
		if slices.Contains(contents, n.path) {
			own = append(own, n.path)
		} else {
			shared = append(shared, n.path)
		}
	}
	slices.SortFunc(own, compareNames)
	return shared, own
}

// compareShare compares (users + 1) × size, the larger one first. The product may have more than 64 bits.
func compareShare(a, b graphNode) int {
	aHigh, aLow := bits.Mul64(uint64(a.users.len()+1), uint64(a.size))
	bHigh, bLow := bits.Mul64(uint64(b.users.len()+1), uint64(b.size))
	return cmp.Or(cmp.Compare(bHigh, aHigh), cmp.Compare(bLow, aLow))
}
