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
	order int // in the store's listing
}

// named is what one name stands for in one index.
type named struct {
	// all are first those that have the name as an attribute, then the others, of each kind the best first.
	all        []*candidate
	attributes int // how many have it as an attribute
}

// nameIndex is the paths of one listing by repository name: a channel's has names by the hundred thousand. It is never
// changed.
type nameIndex struct {
	spans      map[string]nameSpan
	candidates []*candidate // those of one name in a row
	outs       func() []string
	sorted     func() []string // all names, by bytes
}

// nameSpan is where the candidates of a name lie. What has it as an attribute ends at rest.
type nameSpan struct{ from, rest, to uint32 }

func (x *nameIndex) named(name string) named {
	if x == nil {
		return named{}
	}
	s := x.spans[name]
	return named{x.candidates[s.from:s.to:s.to], int(s.rest - s.from)}
}

// findOuts lists the names of candidates that are no other output, sorted.
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

// nameIndexer makes a nameIndex.
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

// add adds a path under its own name and those of attributes.
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

// addName gives c a name, unless it has that since the pair first.
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

// index sorts the pairs by name with one count and one pass, and then the candidates of each name.
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

// each calls f for each name until it fails.
func (x *nameIndex) each(f func(name string, all []*candidate) error) error {
	for name := range maps.Keys(x.spans) {
		if err := f(name, x.named(name).all); err != nil {
			return err
		}
	}
	return nil
}

// better sorts the candidates of one name: outs first, then the highest version, the newest registration, the store's
// own order where it knows no time, the hash.
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

// alike divides candidates, best first, into those of the first one's output and version, and the rest.
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
