package dockertools

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/nixreg/nixreg/store"
)

// TestPopularityGolden holds the older layering against nixpkgs' own: the same paths in the same order in each layer.
func TestPopularityGolden(t *testing.T) {
	tested := 0
	for _, g := range goldens(t, "") {
		if g.Args.Layering != "popularity" {
			continue
		}
		tested++
		closure, hidden := graphOf(t, g)
		maxLayers := g.Args.MaxLayers
		if maxLayers == 0 {
			maxLayers = 100
		}
		var got [][]string
		for _, l := range PlanByPopularity(closure, hidden, maxLayers) {
			var abs []string
			for _, p := range l {
				abs = append(abs, p.Abs())
			}
			got = append(got, abs)
		}
		if want := g.layers(t); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: layers are\n%v\nnot\n%v", g.Name, got, want)
		}
	}
	if tested != 2 {
		t.Errorf("%d vectors are by popularity", tested)
	}
}

// contest is nixpkgs' recursion as it stands: for small graphs alone.
func contest(children []store.Path, refs map[store.Path][]store.Path) map[store.Path]int {
	score := make(map[store.Path]int)
	for _, c := range children {
		score[c]++
		for p, n := range contest(refs[c], refs) {
			score[p] += n + 1
		}
	}
	return score
}

// TestPopularityIsTheContest compares the sum that is taken here with nixpkgs' recursion, on graphs of every shape.
func TestPopularityIsTheContest(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		closure, paths := independent(2+random.IntN(8), 1)
		refs := make(map[store.Path][]store.Path)
		for i, o := range closure {
			o.References = append(o.References, o.Path) // to itself: that counts nothing
			for _, p := range paths[:i] {
				if random.IntN(3) == 0 {
					o.References = append(o.References, p)
					refs[o.Path] = append(refs[o.Path], p)
				}
			}
		}
		last := paths[len(paths)-2:]
		hidden := [2]Hidden{{References: last[:1]}, {References: last}}
		// A child of the root for each of the hidden, as nixpkgs has base.json and the customisation layer.
		refs["base"], refs["links"] = last[:1], last
		score := contest([]store.Path{"base", "links"}, refs)
		want := slices.Clone(paths)
		want = slices.DeleteFunc(want, func(p store.Path) bool { return score[p] == 0 }) // nothing needs it
		slices.SortFunc(want, func(a, b store.Path) int {
			if score[a] != score[b] {
				return score[b] - score[a]
			}
			return cmp.Or(strings.Compare(a.Name(), b.Name()), strings.Compare(string(a), string(b)))
		})
		needed := slices.DeleteFunc(slices.Clone(closure), func(o *store.Object) bool { return score[o.Path] == 0 })
		if got := slices.Concat(PlanByPopularity(needed, hidden, len(needed)+2)...); !slices.Equal(got, want) {
			t.Fatalf("order is %v, not %v, with the references %v", got, want, refs)
		}
	}
}

// TestPopularityOfDeepGraphs: scores that no machine word holds.
func TestPopularityOfDeepGraphs(t *testing.T) {
	const n = 300
	var closure []*store.Object
	for i := range n { // each needs all before it: 2^299 ways lead to the first
		o := &store.Object{NarSize: 1}
		o.Path = store.Path(fmt.Sprintf("%032d-p", i))
		for _, earlier := range closure {
			o.References = append(o.References, earlier.Path)
		}
		closure = append(closure, o)
	}
	hidden := [2]Hidden{{}, {References: []store.Path{closure[n-1].Path}}}
	for i, p := range slices.Concat(PlanByPopularity(closure, hidden, n+2)...) {
		if p != closure[i].Path {
			t.Fatalf("path %d is %s", i, p)
		}
	}
}
