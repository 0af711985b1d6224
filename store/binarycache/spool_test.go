package binarycache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"testing"

	"nixreg/store"
	"nixreg/store/storetest"
)

// gate is a fetcher that counts, and waits until it is let go.
type gate struct {
	fetcher
	entered chan struct{} // gets one value for each fetch
	pass    chan struct{}
}

func (g *gate) fetch(ctx context.Context, name string) (io.ReadCloser, error) {
	g.entered <- struct{}{}
	select {
	case <-g.pass:
		return g.fetcher.fetch(ctx, name)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// gated returns a store with one path, behind a gate.
func gated(t *testing.T) (*Store, store.Path, *gate) {
	t.Helper()
	f := storetest.NewFixture("a-1", storetest.Files{"f": storetest.File("a")})
	s := open(t, Options{FS: makeCache(t, noStream, newSigner("a"), f)})
	g := &gate{s.source, make(chan struct{}, 100), make(chan struct{})}
	s.source = g
	return s, f.Path, g
}

func TestSingleFlight(t *testing.T) {
	s, p, g := gated(t)
	ctx, cancel := context.WithCancel(t.Context())
	leaver := make(chan error)
	go func() {
		_, err := s.Open(ctx, p)
		leaver <- err
	}()
	<-g.entered
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			tr, err := s.Open(t.Context(), p)
			if err != nil {
				t.Error(err)
				return
			}
			defer tr.Close()
			if _, _, err := storetest.HashNAR(t.Context(), tr); err != nil {
				t.Error(err)
			}
		})
	}
	cancel()
	if err := <-leaver; !errors.Is(err, context.Canceled) {
		t.Errorf("the one that left: %v", err)
	}
	close(g.pass)
	wg.Wait()
	if len(g.entered) != 0 {
		t.Errorf("%d more fetches", len(g.entered))
	}
}

// Work that nobody waits for any more is brought to its end, and found by the next.
func TestAllLeave(t *testing.T) {
	s, p, g := gated(t)
	ctx, cancel := context.WithCancel(t.Context())
	leaver := make(chan error)
	go func() {
		_, err := s.Open(ctx, p)
		leaver <- err
	}()
	<-g.entered
	cancel()
	if err := <-leaver; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	close(g.pass)
	tr, err := s.Open(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	tr.Close()
	if len(g.entered) != 0 {
		t.Errorf("%d more fetches", len(g.entered))
	}
}

func TestClose(t *testing.T) {
	s, p, g := gated(t)
	waiting := make(chan error)
	go func() {
		_, err := s.Open(t.Context(), p)
		waiting <- err
	}()
	<-g.entered
	s.Close()
	if err := <-waiting; !errors.Is(err, fs.ErrClosed) || errors.Is(err, context.Canceled) {
		t.Errorf("the one that waited: %v", err)
	}
	if _, err := s.Open(t.Context(), p); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("after it: %v", err)
	}
}

// A tree outlives its store, but not its own Close.
func TestTreeAfterClose(t *testing.T) {
	s, p, g := gated(t)
	close(g.pass)
	tr, err := s.Open(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	if _, _, err := storetest.HashNAR(t.Context(), tr); err != nil {
		t.Error(err)
	}
	for range 2 {
		if err := tr.Close(); err != nil {
			t.Error(err)
		}
	}
	if len(s.spool.archives) > 0 {
		t.Error("the archive is still open")
	}
	if _, _, err := storetest.HashNAR(t.Context(), tr); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	if err := tr.WriteFile(t.Context(), io.Discard, store.Node{Name: "f", Kind: store.Regular, Size: 1}, 0, 1); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func TestEviction(t *testing.T) {
	var objs []storetest.Fixture
	for _, name := range []string{"a-1", "b-1", "c-1"} {
		objs = append(objs, storetest.NewFixture(name, storetest.Files{"f": storetest.File(name)}))
	}
	cache := makeCache(t, noStream, newSigner("a"), objs...)
	const size = 256 // + of each
	s := open(t, Options{FS: cache, SpoolSize: 2*size + size/2})
	g := &gate{s.source, make(chan struct{}, 100), make(chan struct{})}
	close(g.pass)
	s.source = g
	use := func(i int) store.Tree {
		t.Helper()
		tr, err := s.Open(t.Context(), objs[i].Path)
		if err != nil {
			t.Fatal(err)
		}
		return tr
	}
	fetched := func(want int) {
		t.Helper()
		if got := len(g.entered); got != want {
			t.Fatalf("%d fetches, want %d", got, want)
		}
	}
	use(0).Close()
	if got := s.spool.size; got < size || got > size+size/5 {
		t.Fatalf("an archive has %d bytes", got)
	}
	use(1).Close()
	use(0).Close()
	fetched(2)
	use(2).Close() // 1 was used least recently
	fetched(3)
	use(0).Close()
	fetched(3)
	held := use(1)
	fetched(4)
	use(2).Close() // 1 is in use, 0 goes
	fetched(5)
	use(0).Close()
	fetched(6)
	use(1).Close()
	fetched(6)
	if _, _, err := storetest.HashNAR(t.Context(), held); err != nil {
		t.Error(err)
	}
	held.Close()
	if s.spool.size > s.spool.limit {
		t.Errorf("%d bytes are kept", s.spool.size)
	}
}

// Each archive that is kept is an open file, however small.
func TestManyKept(t *testing.T) {
	var objs []storetest.Fixture
	for i := range maxKept + 10 {
		objs = append(objs, storetest.NewFixture(fmt.Sprintf("a-%d", i), storetest.Files{}))
	}
	s := open(t, Options{FS: makeCache(t, noStream, newSigner("a"), objs...)})
	for _, f := range objs {
		tr, err := s.Open(t.Context(), f.Path)
		if err != nil {
			t.Fatal(err)
		}
		tr.Close()
	}
	if n := len(s.spool.archives); n != maxKept {
		t.Errorf("%d archives are kept, want %d", n, maxKept)
	}
}

func TestNoSpool(t *testing.T) {
	f := storetest.NewFixture("a-1", storetest.Files{})
	s := open(t, Options{FS: makeCache(t, noStream, newSigner("a"), f)})
	s.spool.dir = t.TempDir() + "/gone"
	if _, err := s.Open(t.Context(), f.Path); err == nil {
		t.Error(err)
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
	f := storetest.NewFixture("a-1", storetest.Files{"": storetest.File(string(make([]byte, largeFile+1)))})
	s := open(t, Options{FS: makeCache(t, gzipStream, newSigner("a"), f)})
	tr, err := s.Open(t.Context(), f.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	nd, err := store.Lookup(t.Context(), tr, "")
	if err != nil {
		t.Fatal(err)
	}
	var w fileWriter
	if err := tr.WriteFile(t.Context(), &w, nd, 1, largeFile); err != nil || w.files != 1 || w.n != largeFile {
		t.Errorf("%+v, %v", w, err)
	}
}
