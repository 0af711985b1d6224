package dockertools

import (
	"cmp"
	"math/big"
	"slices"

	"github.com/nixreg/nixreg/store"
)

// PlanByPopularity divides a closure into at most maxLayers-1 layers, bottom first, as nixpkgs did before 25.05: the most
// popular paths get a layer each, the others share the last one. closure must be sorted by path and contain every reference.
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

// byPopularity returns the paths without the hidden ones, the most popular first; equally popular ones by name and hash.
//
// nixpkgs unfolds the graph to a tree. At each level the children of a node and the popular paths below them count one. The
// sum is the number of times that a path occurs in the tree, plus the number of times that the nodes above it occur.
// These numbers grow exponentially with the depth of the graph.
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

// occurrences counts how often each node is in the tree: once if no node needs it, else as often as the nodes that need it.
func (g *graph) occurrences() []*big.Int {
	order := make([]int, len(g.nodes)) // users first: a node has more users than any of its users
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
