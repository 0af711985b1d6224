package channel

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestSave(t *testing.T) {
	name := filepath.Join(t.TempDir(), "index")
	if _, err := load(name); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("nothing was saved: %v", err)
	}
	r, encoded := newRelease(sample(t), "https://host/x", marks{`"a"`, absent})
	must(t, os.WriteFile(name+".new", bytes.Repeat([]byte("x"), 1<<20), 0o666)) // of one who was killed
	must(t, r.save(name, encoded))
	got, err := load(name)
	must(t, err)
	if lines(got.index) != sampleLines || got.state != r.state || got.location != r.location || got.seen != r.seen {
		t.Errorf("%+v; want %+v", got, r)
	}
	if _, err := os.Stat(name + ".new"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the temporary file stays: %v", err)
	}
}

func TestSaveFails(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "index")
	r, encoded := newRelease(sample(t), "", marks{})
	must(t, os.MkdirAll(filepath.Join(name, "in the way"), 0o777))
	if err := r.save(name, encoded); err == nil {
		t.Error("saved over a folder")
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// A file with any bit changed, or an end that comes too early, is not used.
func TestLoadDamaged(t *testing.T) {
	name := filepath.Join(t.TempDir(), "index")
	r, encoded := newRelease(sample(t), "https://host/x", marks{`"a"`, `"b"`})
	must(t, r.save(name, encoded))
	whole, err := os.ReadFile(name)
	must(t, err)
	for i := range whole {
		damaged := bytes.Clone(whole)
		damaged[i] ^= 0x10
		for _, b := range [][]byte{damaged, whole[:i]} {
			must(t, os.WriteFile(name, b, 0o666))
			if _, err := load(name); !errors.Is(err, errDamaged) {
				t.Fatalf("byte %d of %d: %v", i, len(whole), err)
			}
		}
	}
}

// What is whole but not of this format is not used either.
func TestLoadOtherFormat(t *testing.T) {
	for _, s := range []string{"", "nixreg channel index 3\n", savedFormat1, savedFormat, savedFormat + "\xff\xff\xff\xff", savedFormat + "\x01\x00\x00\x00"} {
		if _, err := parseRelease(s); !errors.Is(err, errDamaged) {
			t.Errorf("%q: %v", s, err)
		}
	}
	dir := t.TempDir()
	if _, err := load(dir); !errors.Is(err, errDamaged) {
		t.Errorf("a folder: %v", err)
	}
}

// The state tells the content, whatever ETags its files had.
func TestState(t *testing.T) {
	a, _ := newRelease(sample(t), "x", marks{"a", "b"})
	b, _ := newRelease(sample(t), "y", marks{"c", absent})
	c, _ := newRelease(built(t, pathWith("a", "x")), "x", marks{"a", "b"})
	if a.state != b.state || a.state == c.state || len(a.state) != 32 {
		t.Errorf("states %q, %q, %q", a.state, b.state, c.state)
	}
}

func FuzzParseRelease(f *testing.F) {
	name := filepath.Join(f.TempDir(), "index")
	r, encoded := newRelease(sample(f), "https://host/x", marks{`"a"`, `"b"`})
	must(f, r.save(name, encoded))
	whole, err := os.ReadFile(name)
	must(f, err)
	f.Add(string(whole[:len(whole)-32]))
	f.Add(savedFormat)
	f.Fuzz(func(t *testing.T, s string) {
		if r, err := parseRelease(s); err == nil {
			lines(r.index)
		} else if !errors.Is(err, errDamaged) {
			t.Fatal(err)
		}
	})
}
