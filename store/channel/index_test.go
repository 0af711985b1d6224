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

// lines are the packages, one a line: path name and names.
func lines(x *index) string {
	var b strings.Builder
	for p := range x.packages() {
		fmt.Fprintln(&b, p.Path.Name(), p.Names)
	}
	return b.String()
}

// sample has what the rules speak of: several systems, outputs, attributes of one name, a name that is another's output.
func sample(tb testing.TB) *index {
	return built(tb, strings.Join([]string{
		pathWith("f", "zlib-1.3.1"), pathWith("a", "hello-2.12.1"), pathWith("b", "zlib-1.3.1-dev"),
		pathWith("c", "hello-2.12.1"), pathWith("d", "source"), pathWith("g", "jq-1.8.1-bin"),
		pathWith("h", "zlib-1.3.1-man"),
	}, "\n"),
		attribute{"zlib", "zlib-1.3.1", []string{"out", "dev", "static"}},
		attribute{"pkgsMusl.zlib", "zlib-1.3.1", []string{"out"}},
		attribute{"hello", "hello-2.12.1", nil},
		attribute{"hello", "hello-2.12.1", nil},
		attribute{`a."b c".hello`, "hello-2.12.1", []string{"out", "out"}},
		attribute{"jq", "jq-1.8.1", []string{"bin", "out"}},
		attribute{"zlibDev", "zlib-1.3.1-dev", []string{"out"}},
		attribute{"nothing", "nothing-1", []string{"out"}},
		attribute{"", "source", nil},
		attribute{"nameless", "", []string{"source", ""}},
	)
}

const sampleLines = `zlib-1.3.1 [pkgsMusl.zlib zlib]
hello-2.12.1 [a."b c".hello hello]
zlib-1.3.1-dev [zlib zlibDev]
hello-2.12.1 [a."b c".hello hello]
source []
jq-1.8.1-bin [jq]
zlib-1.3.1-man []
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
			again, err := decode(string(encoded))
			must(t, err)
			if got, want := lines(again), lines(x); got != want {
				t.Errorf("%s\nwant\n%s", got, want)
			}
			if string(again.encode()) != string(encoded) {
				t.Error("what was decoded is encoded in another way")
			}
			for i := 0; i < len(encoded); i += 1 + len(encoded)/1000 { // no end comes too early without being noticed
				if _, err := decode(string(encoded[:i])); !errors.Is(err, errDamaged) {
					t.Fatalf("the first %d bytes of %d: %v", i, len(encoded), err)
				}
			}
			if _, err := decode(string(encoded) + "\x00"); !errors.Is(err, errDamaged) {
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

func FuzzDecode(f *testing.F) {
	f.Add(string(sample(f).encode()))
	f.Add("\x00\x00\x00\x00\x00\x00")
	f.Add("\xff\xff\xff\xff\xff\xff")
	f.Fuzz(func(t *testing.T, s string) {
		x, err := decode(s)
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
		if again, err := decode(string(x.encode())); err != nil || lines(again) != lines(x) {
			t.Fatalf("does not survive: %v", err)
		}
	})
}
