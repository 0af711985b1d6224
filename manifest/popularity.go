package manifest

import (
	"cmp"
	"math/big"
	"slices"

	"github.com/nixreg/nixreg/store"
)

// PlanByPopularity divides a closure into at most maxLayers-1 layers, bottom first, as nixpkgs did before 25.05: the most
// popular paths get a layer each, what is left shares the last. closure must be sorted by path and hold every reference.
//
// Source: nixpkgs 24.05, pkgs/build-support/references-by-popularity/closure-graph.py, and streamLayeredImage's use of it.
func PlanByPopularity(closure []*store.Object, hidden [2]Hidden, maxLayers int) [][]store.Path {
	available := maxLayers - 1
	if len(closure) == 0 || available < 1 {
		return nil
	}
	paths := newGraph(closure, hidden).byPopularity()
	var layers [][]store.Path
	for _, p := range paths[:min(len(paths), available-1)] {
		layers = append(layers, []store.Path{p})
	}
	if rest := paths[len(layers):]; len(rest) > 0 {
		layers = append(layers, rest)
	}
	return layers
}

// byPopularity returns the paths, the most popular first, equals by name and hash; without the hidden ones.
//
// nixpkgs lets the children of a node, and again what is popular below each of them, count one at each level of the tree
// that the graph unfolds to. That comes to: how often a path occurs in the tree, plus how often the nodes above it do.
// The numbers grow exponentially with the depth of the graph.
func (g *graph) byPopularity() []store.Path {
	occurs := g.occurrences()
	score := make(map[store.Path]*big.Int, len(g.nodes))
	var paths []store.Path
	for i, n := range g.nodes {
		if n.path == "" {
			continue
		}
		sum := new(big.Int).Set(occurs[i])
		for u := range n.users.all() {
			sum.Add(sum, occurs[u])
		}
		score[n.path] = sum
		paths = append(paths, n.path)
	}
	slices.SortFunc(paths, func(a, b store.Path) int {
		return cmp.Or(score[b].Cmp(score[a]), compareNames(a, b))
	})
	return paths
}

// occurrences counts how often each node is in the tree: once if nobody needs it, else as often as its users are.
func (g *graph) occurrences() []*big.Int {
	order := make([]int, len(g.nodes)) // users first: who needs a user needs the node too, so the node has more
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(g.nodes[a].users.len(), g.nodes[b].users.len()) })
	occurs := make([]*big.Int, len(g.nodes))
	for i := range occurs {
		occurs[i] = new(big.Int)
	}
	for _, i := range order {
		if g.nodes[i].users.len() == 0 {
			occurs[i].SetInt64(1)
		}
		for _, r := range g.nodes[i].refs {
			occurs[r].Add(occurs[r], occurs[i])
		}
	}
	return occurs
}
