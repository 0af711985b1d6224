package binarycache

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nixreg/nixreg/internal/filestamp"
)

func TestSpoolEviction(t *testing.T) {
	a, b, c := makeNAR("a", 1000), makeNAR("b", 1000), makeNAR("c", 1000)
	s := openSpool(t, SpoolOptions{Size: 2500})
	counts := func(wantA, wantB, wantC int) {
		t.Helper()
		a.fetched(t, wantA)
		b.fetched(t, wantB)
		c.fetched(t, wantC)
		if s.size > s.limit || len(names(t, s.dir)) > 2 {
			t.Errorf("%d bytes, files %q", s.size, names(t, s.dir))
		}
	}
	use(t, s, a)
	use(t, s, b)
	use(t, s, a)
	counts(1, 1, 0)
	use(t, s, c) // b was used least recently
	use(t, s, a)
	counts(1, 1, 1)
	held := get(t, s, a)
	use(t, s, b) // c goes, as a is in use
	use(t, s, c)
	use(t, s, b)
	counts(1, 3, 2)
	use(t, s, a)
	s.release(held)
	counts(1, 3, 2)
}

// All that is in use stays, even if it is more than there may be.
func TestSpoolInUse(t *testing.T) {
	s := openSpool(t, SpoolOptions{Size: 2500})
	var held []*archive
	for i := range 5 {
		held = append(held, get(t, s, makeNAR(fmt.Sprint(i), 1000)))
	}
	if got := names(t, s.dir); len(got) != 5 {
		t.Errorf("files %q", got)
	}
	for _, a := range held {
		s.release(a)
	}
	if got := names(t, s.dir); len(got) != 2 || s.size > s.limit {
		t.Errorf("%d bytes, files %q", s.size, got)
	}
}

// An archive that is larger than all there may be is kept while it is in use, and a while longer if it is the last one such;
// it pushes nothing out.
func TestSpoolOversize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		small, large, other := makeNAR("a", 1000), makeNAR("b", 10000), makeNAR("c", 10000)
		s := openSpool(t, SpoolOptions{Size: 2500})
		left := func(want int) {
			t.Helper()
			if got := names(t, s.dir); len(got) != want {
				t.Errorf("files %q", got)
			}
		}
		use(t, s, small)
		held := get(t, s, large)
		use(t, s, large)
		time.Sleep(2 * largeFor)
		s.release(held)
		for range 3 {
			time.Sleep(largeFor - time.Second)
			use(t, s, large)
		}
		large.fetched(t, 1)
		left(2)
		time.Sleep(largeFor)
		synctest.Wait()
		left(1)
		use(t, s, large)
		large.fetched(t, 2)
		use(t, s, other)
		left(2) // of the large ones it is the last
		held = get(t, s, other)
		if s.makeRoom(10) {
			left(1) // not what is in use, but what is small
		}
		s.release(held)
		if !s.makeRoom(10) {
			t.Error("no room is made")
		}
		left(0)
		use(t, s, small)
		small.fetched(t, 2)
		use(t, s, large)
		closeSpool(t, s)
		left(1)
	})
	none := openSpool(t, SpoolOptions{Size: -1})
	use(t, none, makeNAR("a", 1000))
	if got := names(t, none.dir); len(got) != 0 {
		t.Errorf("files %q", got)
	}
}

// A process that was killed may leave an archive that was larger than all there may be.
func TestSpoolOversizeAtStart(t *testing.T) {
	dir := t.TempDir()
	seed(t, dir, makeNAR("a", 1000), makeNAR("b", 10000))
	openSpool(t, SpoolOptions{Dir: dir, Size: 5000})
	if got := names(t, dir); len(got) != 1 {
		t.Errorf("files %q", got)
	}
}

// At the start what is too much goes, the oldest first.
func TestSpoolShrinks(t *testing.T) {
	a, b := makeNAR("a", 1000), makeNAR("b", 1000)
	for _, old := range []*testNAR{a, b} {
		dir := t.TempDir()
		seed(t, dir, a, b)
		long := time.Now().Add(-time.Hour)
		if err := os.Chtimes(filepath.Join(dir, keyOf(old.id).fileName()), long, long); err != nil {
			t.Fatal(err)
		}
		openSpool(t, SpoolOptions{Dir: dir, Size: 1500})
		if got := names(t, dir); len(got) != 1 || got[0] == keyOf(old.id).fileName() {
			t.Errorf("files %q", got)
		}
	}
}

// There is room for an archive before it comes.
func TestSpoolMakesRoomFirst(t *testing.T) {
	a, b := makeNAR("a", 1000), makeNAR("b", 1000)
	entered, pass := b.gated()
	s := openSpool(t, SpoolOptions{Size: 1500})
	use(t, s, a)
	done := make(chan struct{})
	go func() { defer close(done); use(t, s, b) }()
	<-entered
	if got := names(t, s.dir); len(got) != 1 {
		t.Errorf("files %q", got)
	}
	close(pass)
	<-done
}

// Few of the kept archives are open. The others are opened again, without being fetched.
func TestSpoolOpenFiles(t *testing.T) {
	s := openSpool(t, SpoolOptions{})
	var all []*testNAR
	for i := range maxOpen + 10 {
		n := makeNAR(fmt.Sprint(i), 10)
		all = append(all, n)
		use(t, s, n)
	}
	if got := s.idle.Len(); got != maxOpen {
		t.Errorf("%d are open, want %d", got, maxOpen)
	}
	for _, n := range all {
		use(t, s, n)
		n.fetched(t, 1)
	}
	if got := s.idle.Len(); got != maxOpen {
		t.Errorf("%d are open, want %d", got, maxOpen)
	}
}

// Nor do the indexes of kept archives take more than so much memory.
func TestSpoolOpenMemory(t *testing.T) {
	s := openSpool(t, SpoolOptions{})
	a, b := makeNAR("a", 10), makeNAR("b", 10)
	use(t, s, a)
	large := get(t, s, b)
	large.memory = maxOpenMemory + 1
	s.release(large)
	if got := s.idle.Len(); got != 0 {
		t.Errorf("%d are open", got)
	}
	use(t, s, a)
	use(t, s, b)
	a.fetched(t, 1)
	b.fetched(t, 1)
}

// A file this process verified is not hashed again: its state tells that it is the same. Else it is.
func TestSpoolTrustsItsOwn(t *testing.T) {
	n := makeNAR("a", 300<<10)
	s := openSpool(t, SpoolOptions{})
	use(t, s, n)
	file := s.files[keyOf(n.id)]
	if file.state == (filestamp.Stamp{}) {
		t.Fatal("nothing is known of it")
	}
	s.shut(file.open)
	if err := os.Chtimes(s.file(file.key), time.Now(), time.Now()); err != nil { // the bytes stay
		t.Fatal(err)
	}
	old := file.state
	use(t, s, n)
	n.fetched(t, 1)
	if file.state == old {
		t.Error("the new state is not noticed")
	}
	s.shut(file.open)
	use(t, s, n)
	n.fetched(t, 1)
}
