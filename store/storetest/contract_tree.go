package storetest

import (
	"bytes"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/nixreg/nixreg/store"
)

func mustOpen(t *testing.T, s store.Store, p store.Path) store.Tree {
	t.Helper()
	tr, err := s.Open(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tr.Close(); err != nil {
			t.Errorf("close %s: %v", p, err)
		}
	})
	return tr
}

func collect(t *testing.T, tr store.Tree, under string) []store.Node {
	t.Helper()
	var out []store.Node
	for nd, err := range tr.Nodes(t.Context(), under) {
		if err != nil {
			t.Fatalf("nodes under %q: %v", under, err)
		}
		out = append(out, nd)
	}
	return out
}

func testNodes(t *testing.T, s store.Store, objs []Fixture) {
	for _, f := range objs {
		tr := mustOpen(t, s, f.Path)
		want := f.Files.Nodes()
		sameNodes(t, f.Path, "", collect(t, tr, ""), want)
		for i, nd := range want {
			end := i + 1
			for end < len(want) && (nd.Name == "" || strings.HasPrefix(want[end].Name, nd.Name+"/")) {
				end++
			}
			sameNodes(t, f.Path, nd.Name, collect(t, tr, nd.Name), want[i:end])
		}
		for range tr.Nodes(t.Context(), "") {
			break // the iterator has to bear it
		}
		noNode(t, tr, "nowhere", "nowhere/at/all", "..", ".", "/", "../"+string(f.Path), "nul\x00")
		for _, nd := range want {
			if nd.Kind != store.Directory {
				noNode(t, tr, nd.Name+"/x", nd.Name+"/", nd.Name+"/..", "/"+nd.Name, "./"+nd.Name)
			}
		}
		noNode(t, tr, "links/dir/b", "links/out/x", "links/lib/doc", "a//b", "a/./b", "a/../a", "a/")
	}
}

func noNode(t *testing.T, tr store.Tree, names ...string) {
	t.Helper()
	for _, name := range names {
		n := 0
		for nd, err := range tr.Nodes(t.Context(), name) {
			if n++; !errors.Is(err, fs.ErrNotExist) || nd != (store.Node{}) {
				t.Errorf("nodes under %q: %+v, %v; want fs.ErrNotExist", name, nd, err)
			}
		}
		if n != 1 {
			t.Errorf("nodes under %q: %d are yielded, want one error", name, n)
		}
	}
}

func sameNodes(t *testing.T, p store.Path, under string, got, want []store.Node) {
	t.Helper()
	if !slices.EqualFunc(got, want, func(a, b store.Node) bool { a.Stamp, b.Stamp = store.Stamp{}, store.Stamp{}; return a == b }) {
		t.Errorf("nodes of %s under %q:\n%+v\nwant\n%+v", p, under, got, want)
	}
}

func testWriteFile(t *testing.T, s store.Store, objs []Fixture) {
	for _, f := range objs {
		tr, other := mustOpen(t, s, f.Path), mustOpen(t, s, f.Path)
		for _, nd := range collect(t, other, "") {
			if nd.Kind != store.Regular {
				continue
			}
			data := f.Files[nd.Name].Data
			for _, r := range ranges(nd.Size) {
				var b bytes.Buffer
				if err := tr.WriteFile(t.Context(), &b, nd, r[0], r[1]); err != nil {
					t.Errorf("%s: %q, bytes %d+%d: %v", f.Path, nd.Name, r[0], r[1], err)
				} else if b.String() != data[r[0]:r[0]+r[1]] {
					t.Errorf("%s: %q, bytes %d+%d: wrong bytes, %d of them", f.Path, nd.Name, r[0], r[1], b.Len())
				}
			}
			refused(t, tr, nd)
		}
	}
}

// ranges are {offset, length} pairs around everything a reader of size bytes may get wrong by one.
func ranges(size int64) [][2]int64 {
	out := [][2]int64{{0, size}, {size, 0}, {0, 0}, {size / 2, size - size/2}, {0, size / 2}}
	if size > 2 {
		out = append(out, [2]int64{1, size - 2}, [2]int64{size - 1, 1}, [2]int64{0, 1})
	}
	if size > 4097 {
		out = append(out, [2]int64{1, 4097}, [2]int64{size - 4097, 4097}, [2]int64{size - 4096, 4096})
	}
	return out
}

func refused(t *testing.T, tr store.Tree, nd store.Node) {
	t.Helper()
	for _, r := range [][2]int64{{-1, 1}, {0, -1}, {0, nd.Size + 1}, {nd.Size, 1}, {1 << 62, 1 << 62}} {
		var b bytes.Buffer
		if err := tr.WriteFile(t.Context(), &b, nd, r[0], r[1]); err == nil || b.Len() > 0 {
			t.Errorf("%q of %d bytes: bytes %d+%d were given: %v", nd.Name, nd.Size, r[0], r[1], err)
		}
	}
	// A node of another store must not be taken for one's own, so that these hold where stamps are zero, too.
	for _, change := range []func(*store.Node){
		func(nd *store.Node) { nd.Stamp.Inode++ },
		func(nd *store.Node) { nd.Stamp.Ctime-- },
		func(nd *store.Node) { nd.Size++ },
	} {
		old := nd
		change(&old)
		var b bytes.Buffer
		if err := tr.WriteFile(t.Context(), &b, old, 0, old.Size); !errors.Is(err, store.ErrChanged) || b.Len() > 0 {
			t.Errorf("%q as %+v: %d bytes, %v; want store.ErrChanged", nd.Name, old, b.Len(), err)
		}
	}
}
