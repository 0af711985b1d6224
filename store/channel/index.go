package channel

import (
	"cmp"
	"fmt"
	"io/fs"
	"iter"
	"slices"
	"strings"

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
	kinds      texts    // different texts of kinds; the first one is that of a group of which nothing is known
	groupKinds []uint32 // the kind of group g is kinds[groupKinds[g-1]]
}

// kind is what the attributes of a group tell of its paths.
type kind struct {
	output  string // "out", or the name of the output with which the names of the paths end; "" if unknown
	main    bool   // as in [store.Package]
	program string // the same
}

// String returns the kind as one text: the output, "!" for a main one, and the program behind a slash.
func (k kind) String() string {
	s := k.output
	if k.main {
		s += "!"
	}
	return s + "/" + k.program
}

func parseKind(s string) (k kind) {
	k.output, k.program, _ = strings.Cut(s, "/")
	k.output, k.main = strings.CutSuffix(k.output, "!")
	return k
}

// packages yields the packages as [store.Channel] wants them.
func (x *index) packages() iter.Seq[store.Package] {
	return func(yield func(store.Package) bool) {
		for i := range x.paths.ends {
			k := x.kindOf(x.group[i])
			p := store.Package{Path: store.Path(x.paths.at(i)), Names: x.namesOf(x.group[i]), Output: k.output, Main: k.main, Program: k.program}
			if !yield(p) {
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

func (x *index) kindOf(group uint32) kind {
	if group == 0 || len(x.groupKinds) == 0 {
		return kind{}
	}
	return parseKind(x.kinds.at(int(x.groupKinds[group-1])))
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
	kinds  map[kind]uint32 // number of each kind
	listed []kind          // kinds by number
	kind   []uint32        // number of the kind of each name of a path, which are counted from 1
	text   []byte          // scratch
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
	b.kinds, b.listed = map[kind]uint32{{}: 0}, []kind{{}}
	b.kind = make([]uint32, len(b.byName)+1)
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
	b.refer(a.kindOf("out"))
	for _, output := range a.outputs {
		if output != "out" {
			b.text = append(append(append(b.text[:0], a.name...), '-'), output...)
			b.refer(a.kindOf(output))
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

// refer makes the attribute that is being added name the paths called b.text. The first attribute that names them tells their kind.
func (b *builder) refer(k kind) {
	g, ok := b.byName[string(b.text)]
	if !ok {
		return
	}
	b.names = append(b.names, naming{g, uint32(len(b.ends))})
	if b.kind[g] == 0 {
		n, ok := b.kinds[k]
		if !ok {
			n = uint32(len(b.listed))
			b.kinds[k], b.listed = n, append(b.listed, k)
		}
		b.kind[g] = n
	}
}

// kindOf returns the kind of an output of a.
func (a *attribute) kindOf(output string) kind {
	usual := ""
	switch {
	case slices.Contains(a.outputs, "bin"):
		usual = "bin"
	case slices.Contains(a.outputs, "out") || len(a.outputs) == 0:
		usual = "out"
	}
	k := kind{output: output, main: output == a.installs && output != usual}
	if output == cmp.Or(a.installs, usual) && !a.calledAfter(a.program) {
		k.program = a.program
	}
	return k
}

// calledAfter reports whether the name of the package, without its version, is that of a program.
func (a *attribute) calledAfter(program string) bool {
	rest, ok := strings.CutPrefix(a.name, program)
	return ok && (rest == "" || len(rest) > 1 && rest[0] == '-' && (rest[1]|0x20 < 'a' || rest[1]|0x20 > 'z'))
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
	x.kinds = kindTexts(b.listed)
	x.names = make([]uint32, len(b.names))
	for i, n := range b.names {
		x.names[i] = n.attribute
		if number[n.group] == 0 {
			number[n.group] = uint32(len(x.groupEnds))
			x.groupEnds = append(x.groupEnds, 0)
			x.groupKinds = append(x.groupKinds, b.kind[n.group])
		}
		x.groupEnds[number[n.group]] = uint32(i + 1)
	}
	for i, g := range x.group {
		x.group[i] = number[g]
	}
	return x, x.check()
}

func kindTexts(kinds []kind) texts {
	var blob strings.Builder
	t := texts{}
	for _, k := range kinds {
		blob.WriteString(k.String())
		t.ends = append(t.ends, uint32(blob.Len()))
	}
	t.blob = blob.String()
	return t
}
