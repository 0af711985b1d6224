package filestamp

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// take makes a file and returns it open, with its stamp, once a write from now on has another time.
func take(t *testing.T) (*os.File, Stamp) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte("contents"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	s := of(t, name)
	for probe := name + ".probe"; ; {
		if err := os.WriteFile(probe, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if of(t, probe).Ctime > s.Ctime {
			return f, s
		}
	}
}

func of(t *testing.T, name string) Stamp {
	t.Helper()
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	s, names := Of(info)
	if names != 1 || s == (Stamp{}) {
		t.Fatalf("%+v, %d names", s, names)
	}
	return s
}

func TestChanged(t *testing.T) {
	flip := func(name string) error {
		f, err := os.OpenFile(name, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		_, err = f.WriteAt([]byte("C"), 0)
		return errors.Join(err, f.Close())
	}
	for name, c := range map[string]struct {
		change func(name string) error
		want   string
	}{
		"untouched": {func(string) error { return nil }, ""},
		"written":   {flip, "it was written to or touched"},
		"truncated": {func(n string) error { return os.Truncate(n, 3) }, "it has 3 bytes, had 8"},
		"grown":     {func(n string) error { return os.Truncate(n, 9) }, "it has 9 bytes, had 8"},
		"written, its time set back": {func(n string) error {
			info, err := os.Stat(n)
			if err != nil {
				return err
			}
			return errors.Join(flip(n), os.Chtimes(n, time.Now(), info.ModTime()))
		}, "it was written to or touched"},
		"linked":           {func(n string) error { return os.Link(n, n+"2") }, "it was written to or touched"},
		"deleted":          {os.Remove, ""},
		"replaced":         {func(n string) error { return errors.Join(os.WriteFile(n+"2", nil, 0o600), os.Rename(n+"2", n)) }, ""},
		"written, deleted": {func(n string) error { return errors.Join(flip(n), os.Remove(n)) }, "it was written to or touched"},
	} {
		f, s := take(t)
		if err := c.change(f.Name()); err != nil {
			t.Fatal(err)
		}
		if got := s.Changed(f); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// A write that comes right after the stamp was taken is seen, whatever the step of the file system's clock.
func TestBackdate(t *testing.T) {
	f, _ := take(t)
	Backdate(f.Name())
	s := of(t, f.Name())
	if err := os.WriteFile(f.Name(), []byte("CONTENTS"), 0o600); err != nil {
		t.Fatal(err)
	}
	if s.Changed(f) == "" {
		t.Error("the write is not seen")
	}
}

func TestStat(t *testing.T) {
	f, want := take(t)
	link := f.Name() + ".link"
	if err := os.Symlink(f.Name(), link); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{f.Name(), link} {
		if s, err := Stat(name); s != want || err != nil {
			t.Errorf("%+v, %v, want %+v", s, err, want)
		}
	}
	if _, err := Stat(f.Name() + ".absent"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}
