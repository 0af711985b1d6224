package storetest

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"

	"github.com/nixreg/nixreg/store"
)

// Files are the files of a store path by name. A "/" separates components, which may have any other bytes. Parent directories need
// no entry. The name "" is the store path itself if that is a file or a symbolic link: Files{"": File("text")}. Empty Files are an
// empty directory.
type Files map[string]Item

// Item is a file, link or directory of [Files]. [File], [Exec], [Link] and [Dir] make one.
type Item struct {
	Kind       store.Kind
	Executable bool
	Data       string // contents of a regular file
	Target     string // of a symbolic link
}

// File returns a regular file.
func File(data string) Item { return Item{Kind: store.Regular, Data: data} }

// Exec returns an executable regular file.
func Exec(data string) Item { return Item{Kind: store.Regular, Executable: true, Data: data} }

// Link returns a symbolic link.
func Link(target string) Item { return Item{Kind: store.Symlink, Target: target} }

// Dir returns a directory. Only empty directories need an entry.
func Dir() Item { return Item{Kind: store.Directory} }

// Self is a reference of a path to itself.
const Self store.Path = "self"

// Fixture is a valid path for a store in a test. NarHash and NarSize are computed from Files.
type Fixture struct {
	store.Entry
	Files Files
	Refs  []store.Path // in any order; Self is allowed
}

// NewFixture returns a fixture. The hash part of its path is computed from name, files and refs, so the same arguments give the
// same path.
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

// references returns the references in the order of an Object.
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

// Nodes returns the nodes of a Tree of these files, without stamps.
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

// compareNames orders names component by component, so that a directory is followed by its contents.
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
