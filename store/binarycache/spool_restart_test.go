package binarycache

import (
	"bytes"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nixreg/nixreg/store"
)

// seed fills dir with archives, as an earlier process does.
func seed(t testing.TB, dir string, ns ...*testNAR) {
	t.Helper()
	s := openSpool(t, SpoolOptions{Dir: dir, Size: 1 << 30})
	for _, n := range ns {
		use(t, s, n)
		n.count.Store(0)
	}
	closeSpool(t, s)
}

func TestFileName(t *testing.T) {
	n := makeNAR("a", 1)
	name := narName(n.id)
	if got, ok := narHashOf(name); !ok || got != n.id.hash {
		t.Errorf("%s is read as %v, %t", name, got, ok)
	}
	for _, bad := range []string{"", ".nar", "-.nar", name + ".nar", name[1:], strings.Replace(name, "-", "", 1), strings.TrimSuffix(name, narSuffix), "x" + name, strings.Replace(name, "-", "-0", 1)} {
		if _, ok := narHashOf(bad); ok {
			t.Errorf("%q is taken for a file name", bad)
		}
	}
}

func FuzzFileName(f *testing.F) {
	f.Add(narName(makeNAR("a", 1).id))
	f.Fuzz(func(t *testing.T, name string) {
		h, ok := narHashOf(name)
		part, _, _ := strings.Cut(name, "-")
		if ok && part+"-"+store.EncodeBase32(h[:])+narSuffix != name {
			t.Errorf("%q is read as %x", name, h)
		}
	})
}

func TestSpoolRestart(t *testing.T) {
	dir := t.TempDir()
	n := makeNAR("a", 300<<10)
	seed(t, dir, n)
	for _, left := range []string{"tmp-" + "1", "zunknown"} {
		if err := os.WriteFile(filepath.Join(dir, left), n.data[:10], 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := openSpool(t, SpoolOptions{Dir: dir})
	if got := names(t, dir); !slices.Equal(got, []string{narName(n.id), "zunknown"}) {
		t.Errorf("files %q", got)
	}
	use(t, s, n)
	use(t, s, n)
	n.fetched(t, 0)
}

// What lies there under a right name is not believed: it is read and compared.
func TestSpoolTampered(t *testing.T) {
	n := makeNAR("a", 300<<10)
	flipped := bytes.Clone(n.data)
	flipped[len(flipped)/2] ^= 1
	for name, change := range map[string]func(t *testing.T, file string) error{
		"flipped":   func(t *testing.T, file string) error { return os.WriteFile(file, flipped, 0o600) },
		"truncated": func(t *testing.T, file string) error { return os.Truncate(file, n.size-1) },
		"gone":      func(t *testing.T, file string) error { return os.Remove(file) },
	} {
		for _, when := range []string{"before it is opened", "after"} {
			t.Run(name+" "+when, func(t *testing.T) {
				dir := t.TempDir()
				n.count.Store(0)
				seed(t, dir, n)
				file := filepath.Join(dir, narName(n.id))
				if when == "after" {
					s := openSpool(t, SpoolOptions{Dir: dir})
					if err := change(t, file); err != nil {
						t.Fatal(err)
					}
					use(t, s, n)
				} else {
					if err := change(t, file); err != nil {
						t.Fatal(err)
					}
					use(t, openSpool(t, SpoolOptions{Dir: dir}), n)
				}
				n.fetched(t, 1)
				if data, err := os.ReadFile(file); err != nil || !bytes.Equal(data, n.data) {
					t.Errorf("the file is not mended: %v", err)
				}
			})
		}
	}
}

// A file that another version of the program let pass is refused, and goes.
func TestSpoolMalformedFile(t *testing.T) {
	dir := t.TempDir()
	n := narWith("a", dirOf("b", "a"))
	if err := os.WriteFile(filepath.Join(dir, narName(n.id)), n.data, 0o600); err != nil {
		t.Fatal(err)
	}
	s := openSpool(t, SpoolOptions{Dir: dir})
	for range 2 {
		if _, err := s.acquire(t.Context(), n.wanted); err == nil || !strings.Contains(err.Error(), "after") {
			t.Error(err)
		}
	}
	n.fetched(t, 0)
	if left := names(t, dir); len(left) > 0 {
		t.Errorf("left %q", left)
	}
}

func TestOpenSpoolFails(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err := OpenSpool(SpoolOptions{Dir: file, Log: slog.New(slog.NewTextHandler(io.Discard, nil))}); s != nil || err == nil {
		t.Errorf("a file is taken for a folder: %v", err)
	}
}
