package binarycache

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nixreg/nixreg/store"
)

func openTree(t *testing.T, s *Spool, n *testNAR) *tree {
	t.Helper()
	a := get(t, s, n)
	tr := newTree(n.id.path, a, func() { s.release(a) })
	t.Cleanup(func() { tr.Close() })
	return tr
}

func overwrite(t *testing.T, file string, off int64) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteAt([]byte("#"), off)
	}
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
}

// A file that is written to gives no byte any more; the next acquire fetches it again.
func TestSpoolChanged(t *testing.T) {
	n := makeNAR("a", 300<<10)
	for name, change := range map[string]func(file string){
		"written":   func(file string) { overwrite(t, file, 1000) },
		"truncated": func(file string) { os.Truncate(file, 1000) },
		"longer":    func(file string) { os.Truncate(file, n.size+1) },
		"touched":   func(file string) { os.Chtimes(file, time.Now(), time.Now()) },
		"written, its name gone": func(file string) {
			overwrite(t, file, 1000)
			os.Remove(file)
		},
	} {
		n.count.Store(0)
		s := openSpool(t, SpoolOptions{})
		tr := openTree(t, s, n)
		file := s.file(keyOf(n.id))
		change(file)
		var w countWriter
		nd, err := store.Lookup(t.Context(), tr, "")
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := tr.WriteFile(t.Context(), &w, nd, 0, nd.Size); !errors.Is(err, store.ErrChanged) || w > 0 {
				t.Errorf("%s: %d bytes, %v", name, w, err)
			}
		}
		use(t, s, n)
		n.fetched(t, 2)
		tr.Close()
		if err := tr.archive.fd.Close(); !errors.Is(err, os.ErrClosed) {
			t.Errorf("%s: the forgotten file is still open", name)
		}
		use(t, s, n)
		n.fetched(t, 2)
	}
}

// Nor is one taken that changed while nobody used it.
func TestSpoolChangedIdle(t *testing.T) {
	n := makeNAR("a", 300<<10)
	for name, change := range map[string]func(file string){
		"written":  func(file string) { overwrite(t, file, 1000) },
		"replaced": func(file string) { os.WriteFile(file+"x", n.data[:10], 0o600); os.Rename(file+"x", file) },
		"gone":     func(file string) { os.Remove(file) },
	} {
		n.count.Store(0)
		s := openSpool(t, SpoolOptions{})
		use(t, s, n)
		change(s.file(keyOf(n.id)))
		use(t, s, n)
		if use(t, s, n); n.count.Load() != 2 {
			t.Errorf("%s: %d fetches", name, n.count.Load())
		}
		if data, err := os.ReadFile(s.file(keyOf(n.id))); err != nil || string(data) != string(n.data) {
			t.Errorf("%s: the file is not mended: %v", name, err)
		}
	}
}

type countWriter int

func (w *countWriter) Write(b []byte) (int, error) {
	*w += countWriter(len(b))
	return len(b), nil
}

// writerFunc is a writer that does something first.
type writerFunc func(b []byte)

func (w writerFunc) Write(b []byte) (int, error) {
	w(b)
	return len(b), nil
}

// A change between the first and the last byte is noticed before the last ones are handed over.
func TestSpoolChangedMeanwhile(t *testing.T) {
	n := makeNAR("a", 300<<10)
	s := openSpool(t, SpoolOptions{})
	tr := openTree(t, s, n)
	nd, err := store.Lookup(t.Context(), tr, "")
	if err != nil {
		t.Fatal(err)
	}
	var got int64
	w := writerFunc(func(b []byte) {
		if got == 0 {
			overwrite(t, s.file(keyOf(n.id)), n.size-100)
		}
		got += int64(len(b))
	})
	if err := tr.WriteFile(t.Context(), w, nd, 0, nd.Size); !errors.Is(err, store.ErrChanged) || got >= nd.Size || got == 0 {
		t.Errorf("%d bytes of %d, %v", got, nd.Size, err)
	}
}

// An archive in use outlives its file: the bytes are still those that were verified.
func TestSpoolDeleted(t *testing.T) {
	n := makeNAR("a", 300<<10)
	for name, remove := range map[string]func(file string) error{
		"deleted":  os.Remove,
		"replaced": func(file string) error { return cmpErr(os.WriteFile(file+"x", nil, 0o600), os.Rename(file+"x", file)) },
		"folder":   func(file string) error { return os.RemoveAll(filepath.Dir(file)) },
	} {
		n.count.Store(0)
		s := openSpool(t, SpoolOptions{})
		tr := openTree(t, s, n)
		if err := remove(s.file(keyOf(n.id))); err != nil {
			t.Fatal(err)
		}
		if err := read(t, tr, n); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		use(t, s, n)
		if n.count.Load() != 1 {
			t.Errorf("%s: fetched again while it is there", name)
		}
		tr.Close()
		if name != "folder" {
			use(t, s, n)
			n.fetched(t, 2)
		}
	}
}

// fileWriter looks whether it is given what sendfile needs.
type fileWriter struct {
	files, others int
	n             int64
}

func (w *fileWriter) Write(b []byte) (int, error) {
	w.others++
	w.n += int64(len(b))
	return len(b), nil
}

func (w *fileWriter) ReadFrom(r io.Reader) (int64, error) {
	if l, ok := r.(*io.LimitedReader); ok {
		if _, ok := l.R.(*os.File); ok {
			w.files++
		}
	}
	n, err := io.Copy(struct{ io.Writer }{io.Discard}, r)
	w.n += n
	return n, err
}

func TestWriteFileGivesFiles(t *testing.T) {
	if _, err := os.Stat("/proc/self/fd"); err != nil {
		t.Skip("descriptors can be opened again on Linux only")
	}
	n := makeNAR("a", 300<<10)
	s := openSpool(t, SpoolOptions{})
	tr := openTree(t, s, n)
	nd, err := store.Lookup(t.Context(), tr, "")
	if err != nil {
		t.Fatal(err)
	}
	var w fileWriter
	if err := tr.WriteFile(t.Context(), &w, nd, 1, smallRange+1); err != nil || w.files != 1 || w.others != 1 || w.n != smallRange+1 {
		t.Errorf("%+v, %v", w, err)
	}
}
