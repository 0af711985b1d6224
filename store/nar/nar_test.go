package nar

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/nixreg/nixreg/store"
)

// narOf joins the strings of an archive. What starts with "=" is put in as it is.
func narOf(list ...string) []byte {
	var b []byte
	for _, s := range append([]string{"nix-archive-1"}, list...) {
		if raw, ok := strings.CutPrefix(s, "="); ok {
			b = append(b, raw...)
			continue
		}
		b = binary.LittleEndian.AppendUint64(b, uint64(len(s)))
		b = append(b, s...)
		b = append(b, make([]byte, -len(s)&7)...)
	}
	return b
}

func words(s string) []string { return strings.Split(s, " ") }

// entry is the words of a directory's entry, a file without contents.
func entry(name string) []string {
	return append([]string{"entry", "(", "name", name, "node"}, append(words("( type regular contents"), "", ")", ")")...)
}

func dirOf(names ...string) []byte {
	list := words("( type directory")
	for _, n := range names {
		list = append(list, entry(n)...)
	}
	return narOf(append(list, ")")...)
}

func parseAll(b []byte) (nodes []Node, err error) {
	return parseFrom(onlyReader{bytes.NewReader(b)})
}

// parseSkipping passes over contents.
func parseSkipping(b []byte) (nodes []Node, err error) { return parseFrom(bytes.NewReader(b)) }

// onlyReader cannot seek.
type onlyReader struct{ io.Reader }

func parseFrom(r io.Reader) (nodes []Node, err error) {
	err = parse(r, func(nd Node) error {
		nodes = append(nodes, nd)
		return nil
	})
	return nodes, err
}

func TestParseNAR(t *testing.T) {
	b := narOf(words("( type directory entry ( name a node ( type regular executable  contents hello ) ) entry ( name b node ( type symlink target a/b ) ) )")...)
	nodes, err := parseAll(b)
	if err != nil {
		t.Fatal(err)
	}
	want := []store.Node{
		{Kind: store.Directory},
		{Name: "a", Kind: store.Regular, Executable: true, Size: 5},
		{Name: "b", Kind: store.Symlink, Target: "a/b"},
	}
	if len(nodes) != len(want) {
		t.Fatalf("%d nodes", len(nodes))
	}
	for i, nd := range nodes {
		if nd.Node != want[i] {
			t.Errorf("%+v, want %+v", nd.Node, want[i])
		}
	}
	if got := string(b[nodes[1].Offset:][:5]); got != "hello" {
		t.Errorf("at the file's Offset: %q", got)
	}
}

func TestParseNARRefuses(t *testing.T) {
	long := func(n int) string { return strings.Repeat("x", n) }
	deep := func(n int) []byte {
		var list []string
		for range n {
			list = append(list, words("( type directory entry ( name d node")...)
		}
		list = append(list, words("( type directory )")...)
		for range n {
			list = append(list, ")", ")")
		}
		return narOf(list...)
	}
	for name, b := range map[string][]byte{
		"empty":                   {},
		"magic":                   []byte("\x0d\x00\x00\x00\x00\x00\x00\x00nix-archive-2\x00\x00\x00"),
		"type":                    narOf(words("( type device )")...),
		"no contents":             narOf(words("( type regular )")...),
		"executable is not empty": narOf(words("( type regular executable x contents y )")...),
		"contents twice":          narOf(words("( type regular contents x contents y )")...),
		"more":                    append(dirOf("a"), 0),
		"two roots":               append(dirOf("a"), dirOf("a")...),
		"padding":                 narOf("(", "type", "regular", "contents", "=\x01\x00\x00\x00\x00\x00\x00\x00x\x00\x00\x00\x00\x00\x00\x01", ")"),
		"padding of a name":       narOf("(", "=\x04\x00\x00\x00\x00\x00\x00\x00type\x00\x00\x00\x01", "regular", "contents", "", ")"),
		"huge length":             narOf("(", "type", "regular", "contents", "=\xff\xff\xff\xff\xff\xff\xff\xff"),
		"large length":            narOf("(", "type", "regular", "contents", "=\xff\xff\xff\xff\xff\xff\xff\x7f"),
		"file too short":          narOf("(", "type", "regular", "contents", "=\xff\xff\xff\xff\xff\xff\x00\x00x"),
		"order":                   dirOf("b", "a"),
		"same name":               dirOf("a", "a"),
		"empty name":              dirOf(""),
		"dot":                     dirOf("."),
		"dot dot":                 dirOf(".."),
		"slash":                   dirOf("a/b"),
		"NUL":                     dirOf("a\x00b"),
		"long name":               dirOf(long(maxName + 1)),
		"empty target":            narOf("(", "type", "symlink", "target", "", ")"),
		"NUL target":              narOf("(", "type", "symlink", "target", "\x00", ")"),
		"long target":             narOf("(", "type", "symlink", "target", long(maxTarget+1), ")"),
		"executable symlink":      narOf(words("( type symlink executable  target x )")...),
		"deep":                    deep(maxDepth),
	} {
		if _, err := parseAll(b); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := parseSkipping(b); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s, with contents passed over: %v", name, err)
		}
	}
	for name, b := range map[string][]byte{"name": dirOf(long(maxName)), "deep": deep(maxDepth - 1), "names": dirOf("...", "a b", "\xff")} {
		if _, err := parseAll(b); err != nil {
			t.Errorf("%s, at the limit: %v", name, err)
		}
	}
}

func TestParseNARTruncated(t *testing.T) {
	b := dirOf("a", "b")
	for n := range b {
		if _, err := parseAll(b[:n]); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%d of %d bytes: %v", n, len(b), err)
		}
	}
}

// An error of the reader or of visit is not taken for corruption.
func TestParseNARPassesErrors(t *testing.T) {
	broken := errors.New("broken")
	b := dirOf("a")
	r := io.MultiReader(bytes.NewReader(b[:40]), iotest.ErrReader(broken))
	if err := parse(r, func(Node) error { return nil }); !errors.Is(err, broken) || errors.Is(err, ErrCorrupt) {
		t.Error(err)
	}
	if err := parse(bytes.NewReader(b), func(Node) error { return broken }); !errors.Is(err, broken) {
		t.Error(err)
	}
}

func TestCompareNames(t *testing.T) {
	order := []string{"", "a", "a/b", "a/b/c", "a/c", "a b", "a-b", "aa", "\xff"}
	for i, a := range order {
		for j, b := range order {
			if got := compareNames(a, b); (got < 0) != (i < j) || (got > 0) != (i > j) {
				t.Errorf("compareNames(%q, %q) = %d", a, b, got)
			}
		}
	}
}

// Whatever is accepted is written in one way only: the nodes and the files' bytes make the same archive again.
func FuzzParseNAR(f *testing.F) {
	f.Add(dirOf("a", "b"))
	f.Add(narOf(words("( type regular executable  contents hello )")...))
	f.Add(narOf(words("( type directory entry ( name a node ( type symlink target x ) ) )")...))
	f.Fuzz(func(t *testing.T, b []byte) {
		nodes, err := parseAll(b)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Error(err)
			}
			if _, err := parseSkipping(b); !errors.Is(err, ErrCorrupt) {
				t.Errorf("with contents passed over: %v", err)
			}
			return
		}
		checkIndex(t, nodes)
		if skipped, err := parseSkipping(b); err != nil || !slices.Equal(skipped, nodes) {
			t.Errorf("with contents passed over: %+v, %v", skipped, err)
		}
		if got := rewrite(b, nodes); !bytes.Equal(got, b) {
			t.Errorf("archive %q\nmakes   %q", b, got)
		}
	})
}

// rewrite makes the archive of nodes, whose contents lie in b.
func rewrite(b []byte, nodes []Node) []byte {
	var list []string
	var open []string // names of directories
	for _, nd := range nodes {
		for len(open) > 0 && open[len(open)-1] != "" && !strings.HasPrefix(nd.Name, open[len(open)-1]+"/") {
			list = append(list, ")", ")")
			open = open[:len(open)-1]
		}
		if nd.Name != "" {
			list = append(list, "entry", "(", "name", nd.Name[strings.LastIndexByte(nd.Name, '/')+1:], "node")
		}
		switch nd.Kind {
		case store.Directory:
			list = append(list, words("( type directory")...)
			open = append(open, nd.Name)
			continue
		case store.Symlink:
			list = append(list, "(", "type", "symlink", "target", nd.Target, ")")
		case store.Regular:
			list = append(list, words("( type regular")...)
			if nd.Executable {
				list = append(list, "executable", "")
			}
			list = append(list, "contents", string(b[nd.Offset:nd.Offset+nd.Size]), ")")
		default:
			panic(fmt.Sprint("kind ", nd.Kind))
		}
		if nd.Name != "" {
			list = append(list, ")")
		}
	}
	for _, name := range open {
		list = append(list, ")")
		if name != "" {
			list = append(list, ")")
		}
	}
	// A raw string would start with "=": its own bytes must not be taken for one.
	out := narOf()
	for _, s := range list {
		out = binary.LittleEndian.AppendUint64(out, uint64(len(s)))
		out = append(out, s...)
		out = append(out, make([]byte, -len(s)&7)...)
	}
	return out
}
