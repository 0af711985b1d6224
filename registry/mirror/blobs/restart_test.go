package blobs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// kept makes a directory with these blobs, the last one used last, which no open cache knows.
func kept(t testing.TB, all ...[]byte) (dir string) {
	t.Helper()
	clk := &clock{}
	dir = t.TempDir()
	c := open(t, Options{Dir: dir, Now: clk.now})
	for _, data := range all {
		if err := c.Put(t.Context(), digest(data), data); err != nil {
			t.Fatal(err)
		}
		clk.seconds.Add(60)
	}
	c.Close()
	return dir
}

func TestOrderOutlivesRestart(t *testing.T) {
	all := contents(4, 100)
	clk := &clock{}
	clk.seconds.Store(10_000)
	dir := kept(t, all[:3]...)
	c := open(t, Options{Dir: dir, Now: clk.now})
	mustRead(t, c, all[0], nil) // sets its file's time
	fi, err := os.Stat(fileOf(c, all[0]))
	if err != nil || !fi.ModTime().Equal(clk.now()) {
		t.Errorf("time %v, %v", fi.ModTime(), err)
	}
	used := clk.now()
	clk.seconds.Add(59)
	mustRead(t, c, all[0], nil) // which is done once in a minute
	if fi, err := os.Stat(fileOf(c, all[0])); err != nil || !fi.ModTime().Equal(used) {
		t.Errorf("time %v, %v", fi.ModTime(), err)
	}
	c.Close()

	c = open(t, Options{Dir: dir, Max: 300, Now: clk.now})
	wantKept(t, c, all, "kkk-")
	mustRead(t, c, all[3], originOf(all[3]).fetch)
	wantKept(t, c, all, "k-kk")
	c.Close()

	c = open(t, Options{Dir: dir, Max: 200, Now: clk.now})
	wantKept(t, c, all, "k--k")
	wantTidy(t, c)
}

// What a killed process left is removed; what is not the cache's is neither touched nor counted.
func TestOpenLooksAtItsOwnFilesOnly(t *testing.T) {
	data := content(1, 100)
	dir := kept(t, data)
	name := func(elem ...string) string { return filepath.Join(append([]string{dir}, elem...)...) }
	hex := digest(data).Hex
	other := digest(nil).Hex
	write := func(path string) string {
		t.Helper()
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte("x"), 0o600)); err != nil {
			t.Fatal(err)
		}
		return path
	}
	swept := write(name(incomingDir, tempPrefix+"123"))
	foreign := []string{
		write(name("README")),
		write(name(incomingDir, "notes")),
		write(name(incomingDir, tempPrefix+"dir", "x")),
		write(name(completeDir, "README")),
		write(name(completeDir, "zz", "README")),
		write(name(completeDir, other[:2], other[:63])),
		write(name(completeDir, "zz", other)), // the wrong place
		write(name(completeDir, hex[:2], hex[:2]+other[2:]+".tmp")),
		write(name(completeDir, "11", "11"+hex[2:], "x")), // a directory
	}
	link := name(completeDir, other[:2], other)
	if err := os.Symlink(fileOf(open(t, Options{Dir: dir}), data), link); err != nil {
		t.Fatal(err)
	}
	c := open(t, Options{Dir: dir})
	if got, want := c.Stats(), (Stats{Blobs: 1, Kept: 100}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	for _, path := range append(foreign, link) {
		if _, err := os.Lstat(path); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Lstat(swept); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("incomplete file: %v", err)
	}
}

func TestOpenFollowsNoLink(t *testing.T) {
	for _, name := range []string{completeDir, incomingDir} {
		dir, elsewhere := t.TempDir(), t.TempDir()
		if err := os.Symlink(elsewhere, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		if c, err := Open(Options{Dir: dir}); err == nil {
			c.Close()
			t.Errorf("%s may lead elsewhere", name)
		}
	}
}

func TestOpenChecksOptions(t *testing.T) {
	for _, o := range []Options{{}, {Dir: t.TempDir(), Max: -1}} {
		if _, err := Open(o); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%+v: %v", o, err)
		}
	}
}
