package channel

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/nixreg/nixreg/store"
)

// built is the index of a list of paths and of attributes.
func built(tb testing.TB, paths string, attributes ...attribute) *index {
	tb.Helper()
	list, err := readPaths(strings.NewReader(paths))
	must(tb, err)
	b := newBuilder(list)
	for _, a := range attributes {
		must(tb, b.add(a))
	}
	x, err := b.index()
	must(tb, err)
	return x
}

// lines are the packages, one a line: path name, names, and what is told of it, but for the output out.
func lines(x *index) string {
	var b strings.Builder
	for p := range x.packages() {
		fmt.Fprint(&b, p.Path.Name(), " ", p.Names)
		for _, told := range []string{p.Output, map[bool]string{true: "is the main output"}[p.Main], p.Program} {
			if told != "" && told != "out" {
				fmt.Fprint(&b, ", ", told)
			}
		}
		fmt.Fprintln(&b)
	}
	return b.String()
}

// sample has what the rules speak of: several systems, outputs, attributes of one name, a name that is another's output.
func sample(tb testing.TB) *index {
	return built(tb, strings.Join([]string{
		pathWith("f", "zlib-1.3.1"), pathWith("a", "hello-2.12.1"), pathWith("b", "zlib-1.3.1-dev"),
		pathWith("c", "hello-2.12.1"), pathWith("d", "source"), pathWith("g", "jq-1.8.1-bin"),
		pathWith("h", "zlib-1.3.1-man"), pathWith("i", "kitty-0.31"), pathWith("j", "kitty-0.31-terminfo"), pathWith("k", "ripgrep-14"),
		pathWith("l", "split-1"), pathWith("m", "split-1-tools"),
	}, "\n"),
		attribute{path: "kitty", name: "kitty-0.31", outputs: []string{"out", "terminfo"}, installs: "out", program: "kitty"},
		attribute{path: "ripgrep", name: "ripgrep-14", outputs: []string{"out"}, installs: "out", program: "rg"},
		attribute{path: "split", name: "split-1", outputs: []string{"out", "tools"}, installs: "tools", program: "saw"},
		attribute{path: "zlib", name: "zlib-1.3.1", outputs: []string{"out", "dev", "static"}},
		attribute{path: "pkgsMusl.zlib", name: "zlib-1.3.1", outputs: []string{"out"}},
		attribute{path: "hello", name: "hello-2.12.1", outputs: nil},
		attribute{path: "hello", name: "hello-2.12.1", outputs: nil},
		attribute{path: `a."b c".hello`, name: "hello-2.12.1", outputs: []string{"out", "out"}},
		attribute{path: "jq", name: "jq-1.8.1", outputs: []string{"bin", "out"}},
		attribute{path: "zlibDev", name: "zlib-1.3.1-dev", outputs: []string{"out"}},
		attribute{path: "nothing", name: "nothing-1", outputs: []string{"out"}},
		attribute{path: "", name: "source", outputs: nil},
		attribute{path: "nameless", name: "", outputs: []string{"source", ""}},
	)
}

const sampleLines = `zlib-1.3.1 [pkgsMusl.zlib zlib]
hello-2.12.1 [a."b c".hello hello]
zlib-1.3.1-dev [zlib zlibDev], dev
hello-2.12.1 [a."b c".hello hello]
source []
jq-1.8.1-bin [jq], bin
zlib-1.3.1-man []
kitty-0.31 [kitty]
kitty-0.31-terminfo [kitty], terminfo
ripgrep-14 [ripgrep], rg
split-1 [split]
split-1-tools [split], tools, is the main output, saw
`

func TestNames(t *testing.T) {
	x := sample(t)
	if got := lines(x); got != sampleLines {
		t.Errorf("%s\nwant\n%s", got, sampleLines)
	}
	if slices.Contains(x.attributes.all(), "nothing") {
		t.Error("an attribute without a path is kept")
	}
	for p := range x.packages() {
		if _, err := store.ParsePath(string(p.Path)); err != nil {
			t.Error(err)
		}
		break // iteration may end early
	}
}

func TestTooManyNames(t *testing.T) {
	var list pathList
	var blob strings.Builder
	for i := range 3000 {
		fmt.Fprintf(&blob, "%032d-same", i)
		list.ends = append(list.ends, uint32(blob.Len()))
	}
	list.blob = blob.String()
	b := newBuilder(&list)
	for i := range 3000 {
		must(t, b.add(attribute{path: fmt.Sprint(i), name: "same"}))
	}
	if _, err := b.index(); !errors.Is(err, fs.ErrInvalid) || !strings.Contains(err.Error(), "more than 8000000 names") {
		t.Errorf("nine million names: %v", err)
	}
}

func TestEncode(t *testing.T) {
	for name, x := range map[string]*index{
		"sample":   sample(t),
		"no names": built(t, pathWith("a", "x")),
		"large":    large(t, 2000),
	} {
		t.Run(name, func(t *testing.T) {
			encoded := x.encode()
			again, err := decode(string(encoded), 2)
			must(t, err)
			if got, want := lines(again), lines(x); got != want {
				t.Errorf("%s\nwant\n%s", got, want)
			}
			if string(again.encode()) != string(encoded) {
				t.Error("what was decoded is encoded in another way")
			}
			for i := 0; i < len(encoded); i += 1 + len(encoded)/1000 { // no end comes too early without being noticed
				if _, err := decode(string(encoded[:i]), 2); !errors.Is(err, errDamaged) {
					t.Fatalf("the first %d bytes of %d: %v", i, len(encoded), err)
				}
			}
			if _, err := decode(string(encoded)+"\x00", 2); !errors.Is(err, errDamaged) {
				t.Errorf("a byte more: %v", err)
			}
		})
	}
}

// large is an index of the shape of nixpkgs.
func large(tb testing.TB, n int) *index {
	var paths, packages strings.Builder
	newGenerator().write(&paths, &packages, n)
	all, err := readAll(strings.NewReader(packages.String()))
	must(tb, err)
	return built(tb, paths.String(), all...)
}

// A saved index of the earlier format has the paths and names, and nothing is told of them.
func TestDecodeFormat1(t *testing.T) {
	x := sample(t)
	added := appendNumbers(appendTexts(nil, &x.kinds), x.groupKinds)
	encoded := x.encode()
	old, err := decode(string(encoded[:len(encoded)-len(added)]), 1)
	must(t, err)
	untold := sample(t)
	untold.kinds, untold.groupKinds = texts{}, nil
	if got, want := lines(old), lines(untold); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(string(sample(f).encode()))
	f.Add("\x00\x00\x00\x00\x00\x00")
	f.Add("\xff\xff\xff\xff\xff\xff")
	f.Fuzz(func(t *testing.T, s string) {
		x, err := decode(s, 2)
		if err != nil {
			if !errors.Is(err, errDamaged) {
				t.Fatal(err)
			}
			return
		}
		for p := range x.packages() {
			if _, err := store.ParsePath(string(p.Path)); err != nil {
				t.Fatal(err)
			}
		}
		if again, err := decode(string(x.encode()), 2); err != nil || lines(again) != lines(x) {
			t.Fatalf("does not survive: %v", err)
		}
	})
}
