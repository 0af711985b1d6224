package binarycache

import (
	"errors"
	"io"
	"os"
	"testing"
	"time"

	"github.com/nixreg/nixreg/store"
)

func openTree(t *testing.T, s *Spool, n *testNAR) *tree {
	t.Helper()
	a := get(t, s, n)
	tr := newTree(n.id.path, a)
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
		file := s.files.Path(narName(n.id))
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
		fetches := 2
		if name == "touched" { // its bytes are right
			fetches = 1
		}
		use(t, s, n)
		n.fetched(t, fetches)
		tr.Close()
		use(t, s, n)
		n.fetched(t, fetches)
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
			overwrite(t, s.files.Path(narName(n.id)), n.size-100)
		}
		got += int64(len(b))
	})
	if err := tr.WriteFile(t.Context(), w, nd, 0, nd.Size); !errors.Is(err, store.ErrChanged) || got >= nd.Size || got == 0 {
		t.Errorf("%d bytes of %d, %v", got, nd.Size, err)
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
	if err := tr.WriteFile(t.Context(), &w, nd, 1, 64<<10+1); err != nil || w.files != 1 || w.others != 1 || w.n != 64<<10+1 {
		t.Errorf("%+v, %v", w, err)
	}
}
