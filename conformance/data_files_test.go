package conformance_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// unpackData puts the data into a directory of its own.
func unpackData(t *testing.T, dir string) {
	t.Helper()
	f, err := os.Open(oldData)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err == nil {
			err = unpackEntry(filepath.Join(dir, filepath.FromSlash(h.Name)), h, r)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// longAgo is when all of it was used last.
var longAgo = time.Date(2001, 9, 9, 1, 46, 40, 0, time.UTC)

func unpackEntry(name string, h *tar.Header, r io.Reader) error {
	switch h.Typeflag {
	case tar.TypeDir:
		return os.MkdirAll(name, h.FileInfo().Mode().Perm())
	case tar.TypeSymlink:
		return os.Symlink(h.Linkname, name)
	}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, h.FileInfo().Mode().Perm())
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Close(), os.Chtimes(name, longAgo, longAgo))
}

// kept are files of the data, open, so that no other can pass for one of them.
type kept map[string]*os.File

// keepFiles opens the files below some directories of the data.
func keepFiles(t *testing.T, data string, dirs ...string) kept {
	t.Helper()
	k := make(kept)
	for _, dir := range dirs {
		files := filesBelow(t, filepath.Join(data, dir))
		if len(files) == 0 {
			t.Fatalf("the data has no %s", dir)
		}
		for _, name := range files {
			f, err := os.Open(name)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { f.Close() })
			k[name] = f
		}
	}
	return k
}

func filesBelow(t *testing.T, dir string) (all []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			all = append(all, name)
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return all
}

// untouched fails the test for each file that is not there any more, or that was made again.
func (k kept) untouched(t *testing.T) {
	t.Helper()
	for name, f := range k {
		now, err := os.Lstat(name)
		if err != nil {
			t.Error(err)
			continue
		}
		if was, err := f.Stat(); err != nil || !os.SameFile(was, now) {
			t.Errorf("%s was made again (%v)", name, err)
		}
	}
}

// alone fails the test for each file that came to them in a directory of the data.
func (k kept) alone(t *testing.T, dir string) {
	t.Helper()
	for _, name := range filesBelow(t, dir) {
		if k[name] == nil {
			t.Errorf("%s was not in the data", name)
		}
	}
}

// withoutManifests are the files without what a mirror may write again when it has lost its records.
func (k kept) withoutManifests(t *testing.T) kept {
	t.Helper()
	some := maps.Clone(k)
	maps.DeleteFunc(some, func(name string, _ *os.File) bool {
		return bytes.HasPrefix(readFile(t, name), []byte(`{"schemaVersion"`))
	})
	return some
}

// used fails the test for each compressed layer that was asked for and not taken from its file: one that is has the time of
// its last use.
func (k kept) used(t *testing.T, c *crawl) {
	t.Helper()
	asked := 0
	for name := range k {
		isThis := func(read string) bool { return strings.HasSuffix(read, ":"+filepath.Base(name)) }
		if !slices.ContainsFunc(slices.Collect(maps.Keys(c.read)), isThis) {
			continue
		}
		asked++
		if fi, err := os.Stat(name); err != nil || fi.ModTime().Equal(longAgo) {
			t.Errorf("%s is not used (%v)", name, err)
		}
	}
	if asked == 0 {
		t.Error("no compressed layer was asked for")
	}
}
