package storetest

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"

	"github.com/nixreg/nixreg/store"
)

// Files are the files of one store path by their names: "/" between components, arbitrary bytes otherwise.
// Directories on the way need no entry of their own. The name "" is the store path itself, where that is a file or a
// symbolic link: Files{"": File("text")}. Empty Files are an empty directory.
type Files map[string]Item

// Item is what stands under one name of [Files]. [File], [Exec], [Link] and [Dir] make one.
type Item struct {
	Kind       store.Kind
	Executable bool
	Data       string // contents of a regular file
	Target     string // of a symbolic link
}

// File is a regular file.
func File(data string) Item { return Item{Kind: store.Regular, Data: data} }

// Exec is a regular file that may be executed.
func Exec(data string) Item { return Item{Kind: store.Regular, Executable: true, Data: data} }

// Link is a symbolic link.
func Link(target string) Item { return Item{Kind: store.Symlink, Target: target} }

// Dir is a directory; it need not be named unless it is empty.
func Dir() Item { return Item{Kind: store.Directory} }

// Self among the references of a path stands for that path.
const Self store.Path = "self"

// Fixture is one valid path as a test wants it in a store. NarHash and NarSize follow from Files.
type Fixture struct {
	store.Entry
	Files Files
	Refs  []store.Path // in any order; Self is allowed
}

// NewFixture returns a fixture whose path has name and a hash part made from name, files and refs: the same arguments,
// the same path, always.
func NewFixture(name string, files Files, refs ...store.Path) Fixture {
	h := sha256.New()
	fmt.Fprintf(h, "%q %q\n", name, refs)
	for _, nd := range files.Nodes() {
		fmt.Fprintf(h, "%q %d %t %q %q\n", nd.Name, nd.Kind, nd.Executable, nd.Target, files[nd.Name].Data)
	}
	p, err := store.ParsePath(store.EncodeBase32(h.Sum(nil)[:20]) + "-" + name)
	if err != nil {
		panic(err)
	}
	return Fixture{Entry: store.Entry{Path: p}, Files: files, Refs: refs}
}

// references returns refs in the order an Object has them.
func (f Fixture) references() []store.Path {
	refs := []store.Path{}
	for _, r := range f.Refs {
		if r == Self {
			r = f.Path
		}
		refs = append(refs, r)
	}
	slices.Sort(refs)
	return slices.Compact(refs)
}

// Nodes returns what a Tree of these files yields for the whole path, but for the stamps.
func (fs Files) Nodes() []store.Node {
	if it, ok := fs[""]; ok && it.Kind != store.Directory {
		if len(fs) > 1 {
			panic("storetest: files below a path that is no directory")
		}
		return []store.Node{it.node("")}
	}
	all := map[string]Item{"": Dir()}
	for name, it := range fs {
		checkName(name)
		all[name] = it
		for up := name; up != ""; {
			up = parent(up)
			if it, ok := fs[up]; ok && it.Kind != store.Directory {
				panic(fmt.Sprintf("storetest: %q lies below %q, which is no directory", name, up))
			}
			all[up] = Dir()
		}
	}
	nodes := make([]store.Node, 0, len(all))
	for name, it := range all {
		nodes = append(nodes, it.node(name))
	}
	slices.SortFunc(nodes, func(a, b store.Node) int { return compareNames(a.Name, b.Name) })
	return nodes
}

func (it Item) node(name string) store.Node {
	return store.Node{Name: name, Kind: it.Kind, Executable: it.Executable, Size: int64(len(it.Data)), Target: it.Target}
}

func checkName(name string) {
	if name == "" {
		return
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || part == "." || part == ".." || strings.Contains(part, "\x00") {
			panic(fmt.Sprintf("storetest: no file can be called %q", name))
		}
	}
}

// compareNames orders names component by component, so that a directory's contents follow it at once.
func compareNames(a, b string) int {
	for a != "" && b != "" {
		var x, y string
		x, a, _ = strings.Cut(a, "/")
		y, b, _ = strings.Cut(b, "/")
		if c := strings.Compare(x, y); c != 0 {
			return c
		}
	}
	return cmp.Compare(len(a), len(b))
}
