package dockertools

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/nixreg/nixreg/store"
)

// independent are n paths of one size that refer to nothing, called a, b, c and so on in the order of their hashes.
func independent(n int, size int64) (closure []*store.Object, paths []store.Path) {
	for i := range n {
		o := &store.Object{NarSize: size}
		o.Path = pathOf(byte('1'+i), string(rune('a'+i)))
		closure, paths = append(closure, o), append(paths, o.Path)
	}
	return closure, paths
}

func layersText(layers [][]store.Path) string {
	var out []string
	for _, l := range layers {
		var names []string
		for _, p := range l {
			names = append(names, p.Name())
		}
		out = append(out, strings.Join(names, "+"))
	}
	return strings.Join(out, " ")
}

// TestPlanTies: of equal sizes the hidden ones count as the largest, then the paths from the last to the first. Those for
// which no layer is left share one with what needs them.
func TestPlanTies(t *testing.T) {
	closure, paths := independent(5, 100)
	for _, c := range []struct {
		base, links int64 // sizes of the hidden ones; the links refer to all paths
		maxLayers   int
		want        string
	}{
		{100, 100, 6, "c d e a+b"}, // five layers: of the links, of base.json, of e, d and c; one for b would be too many
		{100, 100, 5, "d e a+b+c"},
		{100, 100, 7, "b c d e a"}, // a has the links' layer for itself
		{100, 100, 8, "a b c d e"},
		{1, 100, 6, "c d e a+b"},  // base.json shares no layer with a path, large or small
		{100, 1, 6, "c d e a+b"},  // nothing owns a and b
		{200, 50, 5, "d e a+b+c"}, // base.json is the first
		{100, 100, 2, "a+b+c+d+e"},
		{100, 100, 1, ""},
	} {
		hidden := [2]Hidden{{NarSize: c.base}, {NarSize: c.links, References: paths}}
		if got := layersText(Plan(closure, hidden, c.maxLayers)); got != c.want {
			t.Errorf("base.json of %d, links of %d, %d layers: %s, not %s", c.base, c.links, c.maxLayers, got, c.want)
		}
	}
}

// TestHiddenSizes holds the sizes of the two hidden paths against those Nix knew, in every vector that has a graph.
func TestHiddenSizes(t *testing.T) {
	tested := 0
	for _, g := range goldens(t, "") {
		base := baseText(t, g.Name)
		for _, n := range g.Graph {
			var got int64
			switch n.Path {
			case g.BaseJSON.Path:
				got = narSizeOfFile(len(base))
			case g.Customisation.Path:
				got = narSizeOfCustomisation(int(g.Customisation.Size))
			default:
				continue
			}
			tested++
			if got != n.NarSize {
				t.Errorf("%s: %s has %d bytes, not %d", g.Name, n.Path, got, n.NarSize)
			}
		}
	}
	if tested < 16 {
		t.Errorf("only %d sizes are in the vectors", tested)
	}
	for n, want := range map[int]int64{0: 112, 1: 120, 8: 120, 9: 128} {
		if got := narSizeOfFile(n); got != want {
			t.Errorf("a file of %d bytes has %d, not %d", n, got, want)
		}
	}
}

// baseText is nixpkgs' base.json of a vector.
func baseText(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile("../../conformance/golden/" + name + ".json")
	if err != nil {
		t.Fatal(err)
	}
	var g struct {
		Base struct{ Text string } `json:"base_json"`
	}
	if err := json.Unmarshal(b, &g); err != nil {
		t.Fatal(err)
	}
	return g.Base.Text
}

// TestMentions finds hash parts as Nix does: any 32 characters of its alphabet in a row, wherever they stand.
func TestMentions(t *testing.T) {
	closure, paths := independent(3, 1)
	text := fmt.Sprintf("x=%s:%s/bin %s", paths[0].Abs(), paths[2].Hash(), paths[1].Hash()[:31])
	if got := mentions([]byte(text), closure); len(got) != 2 || got[0] != paths[0] || got[1] != paths[2] {
		t.Errorf("%q mentions %v", text, got)
	}
}
