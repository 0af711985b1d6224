package packages

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/nixreg/nixreg/internal/oci"
	"github.com/nixreg/nixreg/store"
)

// candidate is a store path under one of its names.
type candidate struct {
	store.Entry
	identity
	order int // index in the store's listing
}

// named holds the candidates of one name in one index.
type named struct {
	// all holds first the candidates that have the name as an attribute, then the others. In both groups the best is first.
	all        []*candidate
	attributes int // the number of candidates that have the name as an attribute
}

// nameIndex holds the paths of a listing by repository name. It is compact, because a channel has hundreds of thousands of names.
// It never changes.
type nameIndex struct {
	spans      map[string]nameSpan
	candidates []*candidate // the candidates of one name are next to each other
	outs       func() []string
	sorted     func() []string // all names, by bytes
}

// nameSpan is the range of the candidates of a name. The ones that have it as an attribute are before rest.
type nameSpan struct{ from, rest, to uint32 }

func (x *nameIndex) named(name string) named {
	if x == nil {
		return named{}
	}
	s := x.spans[name]
	return named{x.candidates[s.from:s.to:s.to], int(s.rest - s.from)}
}

// findOuts returns the sorted names that have a candidate of the output out.
func (x *nameIndex) findOuts() []string {
	var names []string
	for name := range x.spans {
		if slices.ContainsFunc(x.named(name).all, func(c *candidate) bool { return c.output == "" }) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// nameIndexer builds a nameIndex.
type nameIndexer struct {
	numbers map[string]uint32 // of names
	pairs   []namePair
	order   int
}

type namePair struct {
	name      uint32
	attribute bool
	candidate *candidate
}

// add adds a path under its own name and under its attributes.
func (b *nameIndexer) add(e store.Entry, attributes ...string) {
	if !offered(e) {
		return
	}
	c := &candidate{Entry: e, identity: identify(e), order: b.order}
	b.order++
	first := len(b.pairs)
	for _, a := range attributes {
		b.addName(c, RepositoryName(a), true, first)
	}
	b.addName(c, RepositoryName(c.name), false, first)
}

// addName adds a name of c. The pairs of c start at first; a name is added once.
func (b *nameIndexer) addName(c *candidate, name string, attribute bool, first int) {
	if name == "" || len(name) > oci.MaxName {
		return
	}
	if b.numbers == nil {
		b.numbers = make(map[string]uint32)
	}
	n, ok := b.numbers[name]
	if !ok {
		n = uint32(len(b.numbers))
		b.numbers[name] = n
	}
	if !slices.ContainsFunc(b.pairs[first:], func(p namePair) bool { return p.name == n }) {
		b.pairs = append(b.pairs, namePair{n, attribute, c})
	}
}

// index groups the pairs by name with a counting sort, and sorts the candidates of each name.
func (b *nameIndexer) index() *nameIndex {
	spans := make([]nameSpan, len(b.numbers))
	for _, p := range b.pairs {
		spans[p.name].to++
		if p.attribute {
			spans[p.name].rest++
		}
	}
	start := uint32(0)
	next := make([][2]uint32, len(spans)) // where the next candidate of each kind goes
	for i, s := range spans {
		spans[i] = nameSpan{start, start + s.rest, start + s.to}
		next[i] = [2]uint32{start + s.rest, start}
		start += s.to
	}
	x := &nameIndex{spans: make(map[string]nameSpan, len(spans)), candidates: make([]*candidate, len(b.pairs))}
	for _, p := range b.pairs {
		at := &next[p.name][0]
		if p.attribute {
			at = &next[p.name][1]
		}
		x.candidates[*at] = p.candidate
		*at++
	}
	for name, n := range b.numbers {
		s := spans[n]
		x.spans[name] = s
		slices.SortFunc(x.candidates[s.from:s.rest], better)
		slices.SortFunc(x.candidates[s.rest:s.to], better)
	}
	x.outs = sync.OnceValue(x.findOuts)
	x.sorted = sync.OnceValue(func() []string { return slices.Sorted(maps.Keys(x.spans)) })
	return x
}

// each calls f for each name until f fails.
func (x *nameIndex) each(f func(name string, all []*candidate) error) error {
	for name := range maps.Keys(x.spans) {
		if err := f(name, x.named(name).all); err != nil {
			return err
		}
	}
	return nil
}

// better orders the candidates of one name: the output out first, then the highest version, the newest registration, the order of
// the store if it has no times, and the hash.
func better(a, b *candidate) int {
	if c := boolCompare(a.output != "", b.output != ""); c != 0 {
		return c
	}
	if c := cmp.Or(-CompareVersions(a.version, b.version), -cmp.Compare(a.Registered, b.Registered)); c != 0 {
		return c
	}
	if a.Registered == 0 && a.order != b.order {
		return cmp.Compare(a.order, b.order)
	}
	return strings.Compare(a.Path.Hash(), b.Path.Hash())
}

func boolCompare(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// alike splits candidates, best first, into the ones with the output and version of the first one, and the rest.
func alike(all []*candidate) (same, rest []*candidate) {
	for _, c := range all {
		if c.output == all[0].output && CompareVersions(c.version, all[0].version) == 0 {
			same = append(same, c)
		} else {
			rest = append(rest, c)
		}
	}
	return same, rest
}
