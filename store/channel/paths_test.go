package channel

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/nixreg/nixreg/store"
)

// pathWith is a store path with a hash of one letter.
func pathWith(letter, name string) string {
	return store.Dir + "/" + strings.Repeat(letter, store.HashLen) + "-" + name
}

func (t *texts) all() []string {
	out := []string{}
	for i := range t.ends {
		out = append(out, t.at(i))
	}
	return out
}

func TestReadPaths(t *testing.T) {
	a, b := pathWith("a", "hello-2.12.1"), pathWith("b", "hello-2.12.1-dev")
	for name, tt := range map[string]struct {
		in      string
		want    []string
		skipped int
	}{
		"two":              {a + "\n" + b + "\n", []string{a, b}, 0},
		"no last newline":  {b + "\n" + a, []string{b, a}, 0},
		"empty lines, CR":  {"\n\n" + a + "\r\n\n" + b, []string{a, b}, 0},
		"twice":            {a + "\n" + b + "\n" + a + "\n", []string{a, b}, 1},
		"a hash twice":     {a + "\n" + pathWith("a", "other") + "\n", []string{a}, 1},
		"another store":    {"/gnu/store/" + strings.Repeat("a", 32) + "-x\n" + b, []string{b}, 1},
		"a derivation":     {b + ".drv\n" + b, []string{b}, 1},
		"below a path":     {a + "/bin/hello\n" + b, []string{b}, 1},
		"no path at all":   {"hello\n" + store.Dir + "\n" + b, []string{b}, 2},
		"illegal name":     {pathWith("a", "he llo") + "\n" + b, []string{b}, 1},
		"the longest line": {strings.Repeat("x", maxLine-1) + "\n" + b, []string{b}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			list, err := readPaths(iotest.OneByteReader(strings.NewReader(tt.in)))
			must(t, err)
			for i, p := range tt.want {
				tt.want[i] = strings.TrimPrefix(p, store.Dir+"/")
			}
			if got := list.all(); !slices.Equal(got, tt.want) || list.skipped != tt.skipped {
				t.Errorf("%q, %d skipped; want %q, %d", got, list.skipped, tt.want, tt.skipped)
			}
		})
	}
}

func TestReadPathsRefuses(t *testing.T) {
	a := pathWith("a", "x") + "\n"
	for in, want := range map[string]string{
		"":        "no path below /nix/store",
		"hello\n": "no path below /nix/store",
		a + "\n" + strings.Repeat("x", maxLine+1) + "\n": "line 3: longer than 1024 bytes",
		a + strings.Repeat("x", 1<<20):                   "line 2: longer than 1024 bytes",
	} {
		_, err := readPaths(strings.NewReader(in))
		if !errors.Is(err, fs.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60q: %v; want an error with %q", in, err, want)
		}
	}
	broken := errors.New("cut")
	if _, err := readPaths(io.MultiReader(strings.NewReader(a), iotest.ErrReader(broken))); !errors.Is(err, broken) {
		t.Errorf("the reader's error is lost: %v", err)
	}
}

func TestReadPathsBound(t *testing.T) {
	endless := &counting{}
	_, err := readPaths(endless)
	if !errors.Is(err, fs.ErrInvalid) || !strings.Contains(err.Error(), "more than 2000000 paths") {
		t.Errorf("an endless list: %v", err)
	}
}

// counting is an endless list of different paths.
type counting struct {
	n    int
	rest []byte
}

func (c *counting) Read(b []byte) (int, error) {
	if len(c.rest) == 0 {
		var hash [store.HashLen]byte
		for i, n := 0, c.n; i < len(hash); i, n = i+1, n/32 {
			hash[i] = store.Base32[n%32]
		}
		c.n++
		c.rest = []byte(store.Dir + "/" + string(hash[:]) + "-x\n")
	}
	n := copy(b, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

func FuzzReadPaths(f *testing.F) {
	f.Add([]byte(pathWith("a", "hello-2.12.1") + "\n" + pathWith("b", "x.drv")))
	f.Add([]byte("\r\n\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		list, err := readPaths(bytes.NewReader(in))
		if err != nil {
			if !errors.Is(err, fs.ErrInvalid) {
				t.Fatal(err)
			}
			return
		}
		for _, p := range list.all() {
			if _, err := store.ParsePath(p); err != nil || !bytes.Contains(in, []byte(store.Dir+"/"+p)) {
				t.Fatalf("%q: %v", p, err)
			}
		}
	})
}
