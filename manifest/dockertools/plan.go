// Package dockertools computes what nixpkgs' dockerTools.streamLayeredImage decides: which store path goes into which layer
// ([Plan], [PlanByPopularity]), what a conf.json says ([ParseConf]), and the arguments with their defaults ([Args]).
//
// It is pure: closures and texts in, plans out. It must not know stores, files, or how layers are made.
package dockertools

import (
	"cmp"
	"encoding/binary"
	"math/bits"
	"slices"
	"strings"

	"github.com/nixreg/nixreg/store"
)

// Hidden is a path that nixpkgs' layering counts and never puts into a layer. It has a size and references; no path refers
// to it.
type Hidden struct {
	NarSize    int64
	References []store.Path
}

// Plan divides a closure into at most maxLayers-1 layers, bottom first; the symlink layer is the last of maxLayers.
// It is nixpkgs' "auto" layering: beginning with the largest path, each large path gets a layer, together with the paths
// that no other large path needs, until no layer is left. hidden are nixpkgs' base.json and customisation layer, which
// change the plan. For equal sizes nixpkgs uses the order of Python's hash of strings; here it is the order of paths, hidden
// ones last. closure must be sorted by path and contain every reference.
//
// Source: nixpkgs pkgs/build-support/docker/auto-layer.py (25.05).
func Plan(closure []*store.Object, hidden [2]Hidden, maxLayers int) [][]store.Path {
	available := maxLayers - 1
	if len(closure) == 0 || available < 1 {
		return nil
	}
	g := newGraph(closure, hidden)
	groups := g.group(g.split(available))
	slices.SortStableFunc(groups, func(a, b []int) int {
		return cmp.Compare(g.closureSize(a), g.closureSize(b))
	})
	var layers [][]store.Path
	for _, group := range groups {
		var paths []store.Path
		for _, i := range group {
			if g.nodes[i].path != "" {
				paths = append(paths, g.nodes[i].path)
			}
		}
		slices.SortFunc(paths, compareNames)
		if len(paths) > 0 {
			layers = append(layers, paths)
		}
	}
	return layers
}

// compareNames orders paths by name, then by hash.
func compareNames(a, b store.Path) int {
	if c := strings.Compare(a.Name(), b.Name()); c != 0 {
		return c
	}
	return strings.Compare(string(a), string(b))
}

type graphNode struct {
	path  store.Path // "" for a hidden one
	size  int64
	refs  []int
	deps  bitset // needed by it, directly or not, without itself
	users bitset // nodes that need it
}

type graph struct{ nodes []graphNode }

func newGraph(closure []*store.Object, hidden [2]Hidden) *graph {
	n := len(closure) + len(hidden)
	g := &graph{nodes: make([]graphNode, n)}
	index := make(map[store.Path]int, len(closure))
	for i, o := range closure {
		index[o.Path] = i
		g.nodes[i] = graphNode{path: o.Path, size: o.NarSize}
	}
	link := func(i int, refs []store.Path) {
		for _, r := range refs {
			if j, ok := index[r]; ok && j != i {
				g.nodes[i].refs = append(g.nodes[i].refs, j)
			}
		}
	}
	for i, o := range closure {
		link(i, o.References)
	}
	for k, h := range hidden {
		g.nodes[len(closure)+k].size = h.NarSize
		link(len(closure)+k, h.References)
	}
	for i := range g.nodes {
		g.nodes[i].users = newBitset(n)
	}
	for i := range g.nodes {
		g.nodes[i].deps = g.reach(i)
		for j := range g.nodes[i].deps.all() {
			g.nodes[j].users.add(i)
		}
	}
	return g
}

// reach returns the nodes that can be reached from node i, without i. In Nix only a path that refers to itself is a cycle;
// other cycles would do no harm.
func (g *graph) reach(i int) bitset {
	seen := newBitset(len(g.nodes))
	todo := slices.Clone(g.nodes[i].refs)
	for len(todo) > 0 {
		j := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if j != i && !seen.has(j) {
			seen.add(j)
			todo = append(todo, g.nodes[j].refs...)
		}
	}
	return seen
}

// split returns for each node the set of large paths that own it. Nodes with equal sets share a layer.
func (g *graph) split(available int) []bitset {
	n := len(g.nodes)
	bySize := make([]int, n)
	for i := range bySize {
		bySize[i] = i
	}
	slices.SortStableFunc(bySize, func(a, b int) int { return cmp.Compare(g.nodes[a].size, g.nodes[b].size) })
	sets := make([]bitset, n)
	for i := range sets {
		sets[i] = newBitset(n)
	}
	for _, p := range slices.Backward(bySize) {
		next := g.claim(sets, p)
		if countDistinct(next) > available {
			break
		}
		sets = next
	}
	return sets
}

// claim returns the sets after p became one of the large paths.
func (g *graph) claim(sets []bitset, p int) []bitset {
	next := slices.Clone(sets)
	next[p] = newBitset(len(sets))
	next[p].add(p)
	for d := range g.nodes[p].deps.all() {
		s := sets[d].minus(g.nodes[p].users)
		if !s.meets(g.nodes[p].deps) {
			s.add(p)
		}
		next[d] = s
	}
	return next
}

func countDistinct(sets []bitset) int {
	seen := make(map[string]bool)
	for _, s := range sets {
		seen[s.key()] = true
	}
	return len(seen)
}

// group collects nodes with equal sets, in the order of their first members.
func (g *graph) group(sets []bitset) [][]int {
	at := make(map[string]int)
	var groups [][]int
	for i, s := range sets {
		k, ok := at[s.key()]
		if !ok {
			k = len(groups)
			at[s.key()] = k
			groups = append(groups, nil)
		}
		groups[k] = append(groups[k], i)
	}
	return groups
}

func (g *graph) closureSize(members []int) (size int64) {
	all := newBitset(len(g.nodes))
	for _, i := range members {
		all.add(i)
		all.addAll(g.nodes[i].deps)
	}
	for i := range all.all() {
		size += g.nodes[i].size
	}
	return size
}

// bitset is a set of small integers.
type bitset []uint64

func newBitset(n int) bitset { return make(bitset, (n+63)/64) }

func (b bitset) add(i int)      { b[i/64] |= 1 << (i % 64) }
func (b bitset) has(i int) bool { return b[i/64]&(1<<(i%64)) != 0 }

func (b bitset) len() (n int) {
	for _, w := range b {
		n += bits.OnesCount64(w)
	}
	return n
}

func (b bitset) addAll(o bitset) {
	for i := range b {
		b[i] |= o[i]
	}
}

func (b bitset) minus(o bitset) bitset {
	out := slices.Clone(b)
	for i := range out {
		out[i] &^= o[i]
	}
	return out
}

func (b bitset) meets(o bitset) bool {
	for i := range b {
		if b[i]&o[i] != 0 {
			return true
		}
	}
	return false
}

// all yields the members in ascending order.
func (b bitset) all() func(yield func(int) bool) {
	return func(yield func(int) bool) {
		for i, w := range b {
			for k := 0; w != 0; k, w = k+1, w>>1 {
				if w&1 != 0 && !yield(i*64+k) {
					return
				}
			}
		}
	}
}

func (b bitset) key() string {
	k := make([]byte, 0, 8*len(b))
	for _, w := range b {
		k = binary.LittleEndian.AppendUint64(k, w)
	}
	return string(k)
}
