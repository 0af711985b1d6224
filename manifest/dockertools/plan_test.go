package dockertools

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/nixreg/nixreg/store"
)

// graphOf makes the arguments of Plan from a vector's graph.
func graphOf(t testing.TB, g *golden) (closure []*store.Object, hidden [2]Hidden) {
	t.Helper()
	for _, n := range g.Graph {
		var refs []store.Path
		for _, r := range n.References {
			refs = append(refs, mustPath(t, r))
		}
		switch n.Path {
		case g.BaseJSON.Path:
			hidden[0] = Hidden{NarSize: n.NarSize, References: refs}
		case g.Customisation.Path:
			hidden[1] = Hidden{NarSize: n.NarSize, References: refs}
		default:
			o := &store.Object{NarSize: n.NarSize, References: refs}
			o.Path = mustPath(t, n.Path)
			closure = append(closure, o)
		}
	}
	slices.SortFunc(closure, func(a, b *store.Object) int { return strings.Compare(string(a.Path), string(b.Path)) })
	return closure, hidden
}

// TestPlanGolden holds the layering against nixpkgs' own: the same paths in the same order in each layer, and the
// layers in ascending order of closure size. Only layers of equal closure size may change places.
func TestPlanGolden(t *testing.T) {
	tested := 0
	for _, g := range goldens(t, "") {
		if g.Args.Layering != "" || len(g.Graph) == 0 {
			continue
		}
		t.Run(g.Name, func(t *testing.T) {
			closure, hidden := graphOf(t, g)
			maxLayers := g.Args.MaxLayers
			if maxLayers == 0 {
				maxLayers = 100
			}
			if strings.Contains(string(g.Conf), `"from_image": "`) {
				maxLayers -= len(g.DiffIDs) - len(g.layers(t)) - 1 // base layers count
			}
			var got, want []string
			for _, l := range Plan(closure, hidden, maxLayers) {
				var abs []string
				for _, p := range l {
					abs = append(abs, p.Abs())
				}
				got = append(got, closureKey(closure, abs))
			}
			for _, l := range g.layers(t) {
				want = append(want, closureKey(closure, l))
			}
			slices.Sort(want) // by closure size, ties by paths: the order of got is checked to be that of size alone
			if !slices.IsSortedFunc(got, func(a, b string) int { return strings.Compare(a[:20], b[:20]) }) {
				t.Errorf("layers are not in ascending order of closure size:\n%s", strings.Join(got, "\n"))
			}
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		})
		tested++
	}
	if tested < 8 {
		t.Fatalf("only %d vectors have a graph", tested)
	}
}

// closureKey is a layer's closure size in 20 digits, then its paths.
func closureKey(closure []*store.Object, layer []string) string {
	byPath := make(map[string]*store.Object)
	for _, o := range closure {
		byPath[o.Path.Abs()] = o
	}
	seen := make(map[string]bool)
	var size int64
	var visit func(string)
	visit = func(p string) {
		if seen[p] {
			return
		}
		seen[p] = true
		size += byPath[p].NarSize
		for _, r := range byPath[p].References {
			visit(r.Abs())
		}
	}
	for _, p := range layer {
		visit(p)
	}
	return fmt.Sprintf("%020d %s", size, strings.Join(layer, " "))
}
