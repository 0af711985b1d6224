package channel

import (
	"cmp"
	"fmt"
	"io/fs"
	"iter"
	"slices"

	"github.com/nixreg/nixreg/store"
)

// maxPairs bounds the names of all paths of a channel together: a few attributes that name many paths each would exceed any memory.
// nixpkgs has less than a million.
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

// index has the paths of one release and their names. It is never changed.
type index struct {
	paths      texts
	attributes texts    // attributes that name a path
	group      []uint32 // of each path; 0 for a path without names
	groupEnds  []uint32 // the names of group g are names[groupEnds[g-1]:groupEnds[g]]; groupEnds[0] is 0
	names      []uint32 // attributes by number, sorted by text within each group
}

// packages yields the packages as [store.Channel] wants them.
func (x *index) packages() iter.Seq[store.Package] {
	return func(yield func(store.Package) bool) {
		for i := range x.paths.ends {
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

// check gives an error matching [fs.ErrInvalid] if the paths have too many names.
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

// builder makes an index of a list of paths, and attributes that are added one by one.
type builder struct {
	list   *pathList
	byName map[string]uint32 // number of each path name
	group  []uint32          // number of the name of each path, counted from 1
	blob   []byte            // attributes
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

// add makes a name all paths with the name of its derivation or of an output of that. A channel does not say which of them are for
// the system that the attribute was evaluated for.
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

// refer makes the attribute that is being added name the paths called b.text.
func (b *builder) refer() {
	if g, ok := b.byName[string(b.text)]; ok {
		b.names = append(b.names, naming{g, uint32(len(b.ends))})
	}
}

// index returns the index. The builder cannot be used any more.
func (b *builder) index() (*index, error) {
	x := &index{paths: b.list.texts, attributes: texts{string(b.blob), slices.Clip(b.ends)}, group: b.group}
	x.paths.ends = slices.Clone(x.paths.ends) // without its spare capacity
	slices.SortFunc(b.names, func(l, r naming) int {
		if l.group != r.group {
			return cmp.Compare(l.group, r.group)
		}
		return cmp.Compare(x.attributes.at(int(l.attribute)), x.attributes.at(int(r.attribute)))
	})
	b.names = slices.CompactFunc(b.names, func(l, r naming) bool {
		return l.group == r.group && x.attributes.at(int(l.attribute)) == x.attributes.at(int(r.attribute))
	})
	number := make([]uint32, len(b.byName)+1) // new numbers of the groups that have names
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
