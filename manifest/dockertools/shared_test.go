package dockertools

import (
	"fmt"
	"maps"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/nixreg/nixreg/store"
)

// shop has the closures of testdata/closures.txt.
type shop struct {
	objects map[string]*store.Object
	images  [2][]string
	updates [2][]string // of the first images, and of all
	closure map[string][]*store.Object
}

func openShop(t testing.TB) *shop {
	t.Helper()
	text, err := os.ReadFile("testdata/closures.txt")
	if err != nil {
		t.Fatal(err)
	}
	s := &shop{objects: make(map[string]*store.Object), closure: make(map[string][]*store.Object)}
	images, updates := 0, 0
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		switch words[0] {
		case "#":
		case "images":
			s.images[images] = words[1:]
			images++
		case "updates":
			s.updates[updates] = words[1:]
			updates++
		default:
			size, err := strconv.ParseInt(words[1], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			o := &store.Object{NarSize: size}
			o.Path = pathOfShop(words[0])
			for _, r := range words[2:] {
				o.References = append(o.References, pathOfShop(r))
			}
			s.objects[string(o.Path)] = o
		}
	}
	for p := range s.objects {
		s.closure[p] = s.closureOf(store.Path(p))
	}
	return s
}

func pathOfShop(name string) store.Path {
	return store.Path(strings.Repeat("0", store.HashLen) + "-" + name)
}

func (s *shop) closureOf(root store.Path) (closure []*store.Object) {
	seen, todo := map[store.Path]bool{root: true}, []store.Path{root}
	for len(todo) > 0 {
		o := s.objects[string(todo[0])]
		todo = todo[1:]
		closure = append(closure, o)
		for _, r := range o.References {
			if !seen[r] {
				seen[r] = true
				todo = append(todo, r)
			}
		}
	}
	slices.SortFunc(closure, func(a, b *store.Object) int { return strings.Compare(string(a.Path), string(b.Path)) })
	return closure
}

// cost is what images cost the machines that pull them, in MB.
type cost struct {
	unique   float64 // bytes of different layers
	unpacked float64 // bytes of different chains of layers
	update   float64 // unpacked again when a dependency and all that depends on it are built again, on average
	app      float64 // unpacked again when the contents alone are built again
}

// measure returns the cost of images, each of which is planned in at most layers layers.
func (s *shop) measure(images, updates []string, plan func(closure []*store.Object, contents []store.Path) [][]store.Path) cost {
	plans := make(map[string][][]store.Path)
	unique, unpacked := make(map[string]float64), make(map[string]float64)
	for _, name := range images {
		own := pathOfShop(name)
		plans[name] = plan(s.closure[string(own)], []store.Path{own})
		chain := ""
		for _, l := range plans[name] {
			chain += fmt.Sprint(l)
			unique[fmt.Sprint(l)], unpacked[chain] = s.size(l), s.size(l)
		}
	}
	total := func(m map[string]float64) (sum float64) {
		for _, key := range slices.Sorted(maps.Keys(m)) {
			sum += m[key] / 1e6
		}
		return sum
	}
	c := cost{unique: total(unique), unpacked: total(unpacked)}
	for _, d := range updates {
		rebuilt := make(map[store.Path]bool)
		for p, closure := range s.closure {
			if slices.ContainsFunc(closure, func(o *store.Object) bool { return o.Path == pathOfShop(d) }) {
				rebuilt[store.Path(p)] = true
			}
		}
		c.update += total(s.again(plans, rebuilt)) / float64(len(updates))
	}
	own := make(map[store.Path]bool)
	for _, name := range images {
		own[pathOfShop(name)] = true
	}
	c.app = total(s.again(plans, own))
	return c
}

// again returns the chains that have a rebuilt path, with the bytes of their last layers.
func (s *shop) again(plans map[string][][]store.Path, rebuilt map[store.Path]bool) map[string]float64 {
	chains := make(map[string]float64)
	for _, plan := range plans {
		chain, dirty := "", false
		for _, l := range plan {
			chain += fmt.Sprint(l)
			dirty = dirty || slices.ContainsFunc(l, func(p store.Path) bool { return rebuilt[p] })
			if dirty {
				chains[chain] = s.size(l)
			}
		}
	}
	return chains
}

func (s *shop) size(paths []store.Path) (n float64) {
	for _, p := range paths {
		n += float64(s.objects[string(p)].NarSize)
	}
	return n
}

// TestSharedLayers holds what images cost in the order shared, and prints the table of docs/layers.md.
func TestSharedLayers(t *testing.T) {
	const maxLayers = 99
	s := openShop(t)
	nixpkgs := func(closure []*store.Object, _ []store.Path) [][]store.Path {
		return Plan(closure, [2]Hidden{}, maxLayers)
	}
	shared := func(closure []*store.Object, contents []store.Path) [][]store.Path {
		return PlanShared(closure, contents, maxLayers)
	}
	inf := math.Inf(1)
	for i, c := range []struct {
		images []string
		most   cost
	}{
		{s.images[0], cost{inf, 1570, 320, 340}},
		{slices.Concat(s.images[0], s.images[1]), cost{4350, 6850, 1610, 1790}},
	} {
		was, is := s.measure(c.images, s.updates[i], nixpkgs), s.measure(c.images, s.updates[i], shared)
		t.Logf("%d images, unique / unpacked / update / app: nixpkgs %.0f / %.0f / %.0f / %.0f, shared %.0f / %.0f / %.0f / %.0f",
			len(c.images), was.unique, was.unpacked, was.update, was.app, is.unique, is.unpacked, is.update, is.app)
		if is.unique > c.most.unique || is.unpacked > c.most.unpacked || is.update > c.most.update || is.app > c.most.app {
			t.Errorf("%d images: %+v, want at most %+v", len(c.images), is, c.most)
		}
	}
}

// TestSharedOrder: the contents are last, and what is left without a layer of its own is below them.
func TestSharedOrder(t *testing.T) {
	p := func(n string, size int64, refs ...string) *store.Object {
		o := &store.Object{NarSize: size}
		o.Path = pathOfShop(n)
		for _, r := range append(refs, n) { // each refers to itself, as many paths of Nix do
			o.References = append(o.References, pathOfShop(r))
		}
		return o
	}
	closure := []*store.Object{
		p("a", 10, "b", "big", "libc"), p("b", math.MaxInt64, "libc"), p("big", 50), p("huge", math.MaxInt64, "libc"),
		p("libc", 30), p("tie1", 20), p("tie2", 20),
	}
	closure[0].References = append(closure[0].References, pathOfShop("huge"), pathOfShop("tie1"), pathOfShop("tie2"))
	for _, c := range []struct {
		maxLayers int
		contents  string
		want      string
	}{
		{100, "a", "b huge libc big tie1 tie2 a"},
		{100, "b a", "huge libc big tie1 tie2 a b"}, // contents that depend on each other, in the order of names
		{8, "a", "b huge libc big tie1 tie2 a"},
		{7, "a", "b huge libc big tie1+tie2 a"},
		{4, "a", "b big+huge+libc+tie1+tie2 a"},
		{3, "a", "b+big+huge+libc+tie1+tie2 a"},
		{2, "a", "a+b+big+huge+libc+tie1+tie2"},
		{4, "a b big huge libc", "tie1+tie2 a b+big+huge+libc"},
		{3, "a b big huge libc tie1 tie2", "a b+big+huge+libc+tie1+tie2"},
		{3, "", "b a+big+huge+libc+tie1+tie2"},
		{1, "a", ""},
	} {
		var contents []store.Path
		for n := range strings.FieldsSeq(c.contents) {
			contents = append(contents, pathOfShop(n))
		}
		var got []string
		for _, l := range PlanShared(closure, contents, c.maxLayers) {
			var names []string
			for _, p := range l {
				names = append(names, p.Name())
			}
			got = append(got, strings.Join(names, "+"))
		}
		if got := strings.Join(got, " "); got != c.want {
			t.Errorf("%d layers, contents %q: %s, want %s", c.maxLayers, c.contents, got, c.want)
		}
	}
	if got := PlanShared(nil, nil, 100); got != nil {
		t.Errorf("of no closure: %v", got)
	}
}
