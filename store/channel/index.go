package channel

import (
	"cmp"
	"fmt"
	"io/fs"
	"iter"
	"slices"

	"github.com/nixreg/nixreg/store"
)

// maxPairs bounds how many names all paths of a channel have together: a few attributes with the name of many paths
// would make more than any memory holds. nixpkgs has under a million.
const maxPairs = 8_000_000

// texts is a list of strings in one piece of memory.
type texts struct {
	blob string
	ends []uint32
}

func (t *texts) at(i int) string {
	start := uint32(0)
	if i > 0 {
		start = t.ends[i-1]
	}
	return t.blob[start:t.ends[i]]
}

// index is the paths of one release of a channel and their names. It is never changed.
type index struct {
	paths      texts
	attributes texts    // those that name a path
	group      []uint32 // of each path; 0 is the group without names
	groupEnds  []uint32 // the names of group g are names[groupEnds[g-1]:groupEnds[g]]; groupEnds[0] is 0
	names      []uint32 // attributes by number, sorted by text within each group
}

// packages yields what [store.Channel] asks for.
func (x *index) packages() iter.Seq[store.Package] {
	return func(yield func(store.Package) bool) {
		for i := range x.paths.ends {
			// Only well-formed paths come into an index.
			if !yield(store.Package{Path: store.Path(x.paths.at(i)), Names: x.namesOf(x.group[i])}) {
				return
			}
		}
	}
}

func (x *index) namesOf(group uint32) []string {
	if group == 0 {
		return nil
	}
	var out []string
	for _, a := range x.names[x.groupEnds[group-1]:x.groupEnds[group]] {
		out = append(out, x.attributes.at(int(a)))
	}
	return out
}

// check reports an error matching [fs.ErrInvalid] where paths have too many names.
func (x *index) check() error {
	pairs := 0
	for _, g := range x.group {
		if g > 0 {
			pairs += int(x.groupEnds[g] - x.groupEnds[g-1])
		}
		if pairs > maxPairs {
			return fmt.Errorf("its paths have more than %d names: %w", maxPairs, fs.ErrInvalid)
		}
	}
	return nil
}

// builder makes an index of a list of paths and the attributes that come one after the other.
type builder struct {
	list   *pathList
	byName map[string]uint32 // number of each path name
	group  []uint32          // of each path: the number of its name, counted from 1
	blob   []byte            // of attributes
	ends   []uint32
	names  []naming
	text   []byte // scratch
}

// naming says that the paths of a group have an attribute's name.
type naming struct{ group, attribute uint32 }

func newBuilder(list *pathList) *builder {
	b := &builder{list: list, byName: make(map[string]uint32, len(list.ends)), group: make([]uint32, len(list.ends))}
	for i := range list.ends {
		name := list.at(i)[store.HashLen+1:]
		g, ok := b.byName[name]
		if !ok {
			g = uint32(len(b.byName) + 1)
			b.byName[name] = g
		}
		b.group[i] = g
	}
	return b
}

// add gives the name of a to all paths with the name of its derivation, and to those of its other outputs: a channel does
// not say which of them are for the system that the attribute was evaluated for.
//
// Source: Nix, libstore/derivations.cc, outputPathName.
func (b *builder) add(a attribute) error {
	if a.path == "" || a.name == "" {
		return nil
	}
	before := len(b.names)
	b.text = append(b.text[:0], a.name...)
	b.refer()
	for _, output := range a.outputs {
		if output != "out" {
			b.text = append(append(append(b.text[:0], a.name...), '-'), output...)
			b.refer()
		}
	}
	if len(b.names) > maxPairs {
		return fmt.Errorf("more than %d names: %w", maxPairs, fs.ErrInvalid)
	}
	if len(b.names) > before {
		b.blob = append(b.blob, a.path...)
		b.ends = append(b.ends, uint32(len(b.blob)))
	}
	return nil
}

// refer gives the attribute that is being added to the paths called b.text.
func (b *builder) refer() {
	if g, ok := b.byName[string(b.text)]; ok {
		b.names = append(b.names, naming{g, uint32(len(b.ends))})
	}
}

// index returns what was built. The builder cannot be used any more.
func (b *builder) index() (*index, error) {
	x := &index{paths: b.list.texts, attributes: texts{string(b.blob), slices.Clip(b.ends)}, group: b.group}
	x.paths.ends = slices.Clone(x.paths.ends) // without what it could grow by
	slices.SortFunc(b.names, func(l, r naming) int {
		if l.group != r.group {
			return cmp.Compare(l.group, r.group)
		}
		return cmp.Compare(x.attributes.at(int(l.attribute)), x.attributes.at(int(r.attribute)))
	})
	b.names = slices.CompactFunc(b.names, func(l, r naming) bool {
		return l.group == r.group && x.attributes.at(int(l.attribute)) == x.attributes.at(int(r.attribute))
	})
	number := make([]uint32, len(b.byName)+1) // of the groups that have names
	x.groupEnds = []uint32{0}
	x.names = make([]uint32, len(b.names))
	for i, n := range b.names {
		x.names[i] = n.attribute
		if number[n.group] == 0 {
			number[n.group] = uint32(len(x.groupEnds))
			x.groupEnds = append(x.groupEnds, 0)
		}
		x.groupEnds[number[n.group]] = uint32(i + 1)
	}
	for i, g := range x.group {
		x.group[i] = number[g]
	}
	return x, x.check()
}
