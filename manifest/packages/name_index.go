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
	told  bool // the channel says that a bare name of the package means this output
	order int  // index in the store's listing
	build *build
	// program is the main program that the channel tells, unless that is the package's name.
	program string
}

// build is one build of a derivation: outputs of one deriver and one version. Outputs whose deriver is unknown count as one build.
// It is nil in a listing without derivers and times.
type build struct {
	registered int64 // the latest time of its outputs
	order      int   // the lowest one of its outputs
	main       *candidate
}

// isMain reports whether a bare name may mean the output by its name alone.
func (c *candidate) isMain() bool { return c.rank() <= rankOut }

// rank orders the outputs of a build.
func (c *candidate) rank() int {
	if c.told {
		return rankTold
	}
	return outputRank(c.output)
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
	candidates []*candidate    // the candidates of one name are next to each other
	outs       func() []string // names that have a main output
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

// findOuts returns the sorted names that have a main output.
func (x *nameIndex) findOuts() []string {
	var names []string
	for name := range x.spans {
		if slices.ContainsFunc(x.named(name).all, (*candidate).isMain) {
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
	builds  bool // the listing has derivers or times
}

type namePair struct {
	name      uint32
	attribute bool
	candidate *candidate
}

// add adds a path of a store under its own name.
func (b *nameIndexer) add(e store.Entry) {
	if offered(e) {
		b.builds = b.builds || e.Deriver != "" || e.Registered != 0
		b.addCandidate(&candidate{Entry: e, identity: identify(e, "")}, nil)
	}
}

// addPackage adds a path of a channel under its own name and under its attributes.
func (b *nameIndexer) addPackage(p store.Package) {
	if e := (store.Entry{Path: p.Path}); offered(e) {
		b.addCandidate(&candidate{Entry: e, identity: identify(e, p.Output), told: p.Main, program: p.Program}, p.Names)
	}
}

func (b *nameIndexer) addCandidate(c *candidate, attributes []string) {
	c.order = b.order
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

// setBuilds finds the builds of the candidates, if the listing tells them.
func (b *nameIndexer) setBuilds() {
	if !b.builds {
		return
	}
	type key struct {
		name, version string
		deriver       store.Path
	}
	builds := make(map[key]*build)
	for _, p := range b.pairs {
		c := p.candidate
		if c.build != nil {
			continue // the pair of another name
		}
		k := key{c.name, c.version, c.Deriver}
		x := builds[k]
		if x == nil {
			x = &build{c.Registered, c.order, c}
			builds[k] = x
		}
		c.build = x
		x.registered, x.order = max(x.registered, c.Registered), min(x.order, c.order)
		if betterOutput(c, x.main) < 0 {
			x.main = c
		}
	}
}

// index groups the pairs by name with a counting sort, and sorts the candidates of each name.
func (b *nameIndexer) index() *nameIndex {
	b.setBuilds()
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

// better orders the candidates of one name: main outputs first, then the highest version, the newest build, and the outputs of a
// build in the order of rank.
func better(a, b *candidate) int {
	return cmp.Or(boolCompare(!a.isMain(), !b.isMain()), -CompareVersions(a.version, b.version), newerBuild(a.build, b.build), betterOutput(a, b))
}

// newerBuild orders builds by their last registration, or the order of a store without times, and the main outputs.
func newerBuild(a, b *build) int {
	if a == b || a == nil || b == nil {
		return 0
	}
	if a.registered == 0 && b.registered == 0 && a.order != b.order {
		return cmp.Compare(a.order, b.order)
	}
	return cmp.Or(-cmp.Compare(a.registered, b.registered), strings.Compare(a.main.Path.Hash(), b.main.Path.Hash()))
}

// betterOutput orders the outputs of one build. Several of the same name, for several systems or without a known deriver, are
// ordered by registration, the order of a store without times, and hash.
func betterOutput(a, b *candidate) int {
	if c := cmp.Or(cmp.Compare(a.rank(), b.rank()), strings.Compare(a.output, b.output), -cmp.Compare(a.Registered, b.Registered)); c != 0 {
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

// alike splits candidates, best first, into the ones that are main outputs of the first one's version, and the rest. If the first
// one is no main output, none of its name is: then they are the outputs of its version.
func alike(all []*candidate) (same, rest []*candidate) {
	for _, c := range all {
		if c.isMain() == all[0].isMain() && CompareVersions(c.version, all[0].version) == 0 {
			same = append(same, c)
		} else {
			rest = append(rest, c)
		}
	}
	return same, rest
}
