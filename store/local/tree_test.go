package local_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/local"
	"github.com/nixreg/nixreg/store/storetest"
)

func openTree(t *testing.T, s store.Store, p store.Path) store.Tree {
	t.Helper()
	tr, err := s.Open(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tr.Close() })
	return tr
}

// hook is a writer that does something at its first byte.
type hook struct {
	got  bytes.Buffer // not embedded: its ReadFrom would be called instead of Write
	then func()
}

func (h *hook) Write(p []byte) (int, error) {
	if h.then != nil {
		h.then()
		h.then = nil
	}
	return h.got.Write(p)
}

// changes are ways in which a file may stop being what it was.
func changes(t *testing.T, name string) map[string]func() {
	must := func(err error) {
		if err != nil {
			t.Error(err)
		}
	}
	old, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	other := bytes.Repeat([]byte("x"), len(old))
	truncate := func(n int) {
		must(os.Chmod(name, 0o644)) // for those who are not root
		must(os.Truncate(name, int64(n)))
	}
	return map[string]func(){
		"replaced by one of the same size": func() { must(os.WriteFile(name+"~", other, 0o444)); must(os.Rename(name+"~", name)) },
		"overwritten": func() {
			before := ctime(t, name)
			must(os.Chmod(name, 0o644))
			for must(os.WriteFile(name, other, 0o644)); ctime(t, name) == before; { // until the kernel's clock has ticked
				must(os.Chmod(name, 0o644))
			}
		},
		"cut short":          func() { truncate(len(old) / 2) },
		"grown":              func() { truncate(len(old) + 1) },
		"deleted":            func() { must(os.Remove(name)) },
		"replaced by a link": func() { must(os.Remove(name)); must(os.Symlink("/etc/passwd", name)) },
		"replaced by a link to itself": func() {
			must(os.Rename(name, name+"~"))
			must(os.Symlink(filepath.Base(name)+"~", name))
		},
		"replaced by a pipe":             func() { must(os.Remove(name)); must(syscall.Mkfifo(name, 0o644)) },
		"replaced by a directory":        func() { must(os.Remove(name)); must(os.Mkdir(name, 0o755)) },
		"its directory became a file":    func() { must(os.RemoveAll(filepath.Dir(name))); must(os.WriteFile(filepath.Dir(name), nil, 0o444)) },
		"its directory was deleted, too": func() { must(os.RemoveAll(filepath.Dir(name))) },
	}
}

func ctime(t *testing.T, name string) int64 {
	fi, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	return local.Ctime(fi)
}

func TestChangedBefore(t *testing.T) {
	f := storetest.NewFixture("x-1", storetest.Files{"d/f": storetest.File(strings.Repeat("a", 200_000))})
	r0 := newRoot(t, f)
	for how := range changes(t, r0.file(f.Path)+"/d/f") {
		for _, n := range []int64{0, 10, 200_000} {
			r := newRoot(t, f)
			tr := openTree(t, r.open(), f.Path)
			nd, err := store.Lookup(t.Context(), tr, "d/f")
			r.must(err)
			changes(t, r.file(f.Path)+"/d/f")[how]()
			var w bytes.Buffer
			if err := tr.WriteFile(t.Context(), &w, nd, 0, n); !errors.Is(err, store.ErrChanged) || errors.Is(err, fs.ErrNotExist) || w.Len() > 0 {
				t.Errorf("%s: %d of %d bytes, %v; want store.ErrChanged", how, w.Len(), n, err)
			}
		}
	}
}

// A file that changes while it is read must not arrive complete. (One that only loses its name is still what it was.)
func TestChangedMeanwhile(t *testing.T) {
	f := storetest.NewFixture("x-1", storetest.Files{"d/f": storetest.File(strings.Repeat("a", 200_000))})
	for _, how := range []string{"overwritten", "cut short", "grown"} {
		r := newRoot(t, f)
		tr := openTree(t, r.open(), f.Path)
		nd, err := store.Lookup(t.Context(), tr, "d/f")
		r.must(err)
		w := &hook{then: changes(t, r.file(f.Path)+"/d/f")[how]}
		if err := tr.WriteFile(t.Context(), w, nd, 0, nd.Size); !errors.Is(err, store.ErrChanged) {
			t.Errorf("%s: %v; want store.ErrChanged", how, err)
		}
		if n := int64(w.got.Len()); n == 0 || n >= nd.Size {
			t.Errorf("%s: %d of %d bytes were handed over", how, n, nd.Size)
		}
	}
}

func TestDeletedWhileOpen(t *testing.T) {
	f := small("x-1")
	r := newRoot(t, f)
	s := r.open()
	tr := openTree(t, s, f.Path)
	nd, err := store.Lookup(t.Context(), tr, "f")
	r.must(err)
	r.writer().delete(f.Path)
	if err := tr.WriteFile(t.Context(), io.Discard, nd, 0, nd.Size); !errors.Is(err, store.ErrChanged) {
		t.Errorf("read: %v; want store.ErrChanged", err)
	}
	if _, err := store.Lookup(t.Context(), tr, ""); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nodes: %v; want fs.ErrNotExist", err)
	}
	if _, err := s.Open(t.Context(), f.Path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("open: %v; want fs.ErrNotExist", err)
	}
}

// kernel takes what a network connection needs to be served by sendfile.
type kernel struct {
	bytes.Buffer
	fromFile int64
}

func (k *kernel) ReadFrom(r io.Reader) (int64, error) {
	if l, ok := r.(*io.LimitedReader); ok {
		if _, ok := l.R.(*os.File); ok {
			k.fromFile += l.N
		}
	}
	return k.Buffer.ReadFrom(r)
}

func TestSendfile(t *testing.T) {
	f := storetest.NewFixture("x-1", storetest.Files{"f": storetest.File(strings.Repeat("0123456789", 1_000_000))})
	r := newRoot(t, f)
	tr := openTree(t, r.open(), f.Path)
	nd, err := store.Lookup(t.Context(), tr, "f")
	r.must(err)
	var k kernel
	r.must(tr.WriteFile(t.Context(), &k, nd, 3, nd.Size-5))
	if want := f.Files["f"].Data[3 : nd.Size-2]; k.String() != want {
		t.Errorf("wrong bytes, %d of %d", k.Len(), len(want))
	}
	if k.fromFile < nd.Size-5-4096 {
		t.Errorf("only %d of %d bytes came straight from the file", k.fromFile, nd.Size)
	}
}

func TestCancelledMeanwhile(t *testing.T) {
	f := storetest.NewFixture("x-1", storetest.Files{"f": storetest.File(strings.Repeat("x", 10_000_000))})
	r := newRoot(t, f)
	tr := openTree(t, r.open(), f.Path)
	nd, err := store.Lookup(t.Context(), tr, "f")
	r.must(err)
	ctx, cancel := context.WithCancel(t.Context())
	w := &hook{then: cancel}
	if err := tr.WriteFile(ctx, w, nd, 0, nd.Size); !errors.Is(err, context.Canceled) || int64(w.got.Len()) >= nd.Size {
		t.Errorf("%d bytes, %v; want context.Canceled", w.got.Len(), err)
	}
}

func TestOddFiles(t *testing.T) {
	f := small("x-1")
	r := newRoot(t, f)
	tr := openTree(t, r.open(), f.Path)
	dir := r.file(f.Path)

	// Hard links are plain files; of the modes only the owner's x counts.
	r.must(os.Link(dir+"/f", dir+"/g"))
	r.must(os.Chmod(dir+"/f", 0o100))
	r.must(os.WriteFile(dir+"/h", nil, 0o600))
	r.must(os.Chmod(dir+"/h", 0o4677))
	for name, x := range map[string]bool{"f": true, "g": true, "h": false} {
		if nd, err := store.Lookup(t.Context(), tr, name); err != nil || nd.Kind != store.Regular || nd.Executable != x {
			t.Errorf("%s: %+v, %v", name, nd, err)
		}
	}
	r.must(syscall.Mkfifo(dir+"/pipe", 0o644))
	for _, under := range []string{"", "pipe"} {
		var last error
		for _, last = range tr.Nodes(t.Context(), under) {
		}
		if !errors.Is(last, fs.ErrInvalid) {
			t.Errorf("nodes under %q with a pipe: %v; want fs.ErrInvalid", under, last)
		}
	}
	if _, err := store.Lookup(t.Context(), tr, strings.Repeat("n", 5000)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a name too long to exist: %v; want fs.ErrNotExist", err)
	}
}

func TestLargeTrees(t *testing.T) {
	f := storetest.NewFixture("x-1", storetest.Files{})
	r := newRoot(t, f)
	deep := r.file(f.Path) + "/deep" + strings.Repeat("/d", 300)
	wide := r.file(f.Path) + "/wide"
	r.must(os.MkdirAll(deep, 0o755))
	r.must(os.MkdirAll(wide, 0o755))
	one := r.file(f.Path) + "/z"
	r.must(os.WriteFile(one, nil, 0o444))
	for i := range 50_000 {
		r.must(os.Link(one, fmt.Sprintf("%s/%d", wide, i))) // far quicker to make than files
	}
	n, last := 0, ""
	for nd, err := range openTree(t, r.open(), f.Path).Nodes(t.Context(), "") {
		r.must(err)
		if strings.HasPrefix(nd.Name, "wide/") && nd.Name <= last {
			t.Fatalf("%q after %q", nd.Name, last)
		}
		last = nd.Name
		n++
	}
	if n != 1+301+1+50_000+1 {
		t.Errorf("%d nodes", n)
	}
}
