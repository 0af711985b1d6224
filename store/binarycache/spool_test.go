package binarycache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nixreg/nixreg/store/nar"
)

func TestSpoolOnce(t *testing.T) { synctest.Test(t, testSpoolOnce) }

func testSpoolOnce(t *testing.T) {
	n := makeNAR("a", 100)
	entered, pass := n.gated()
	s := openSpool(t, SpoolOptions{})
	ctx, cancel := context.WithCancel(t.Context())
	leaver := make(chan error)
	go func() {
		_, err := s.acquire(ctx, n.wanted)
		leaver <- err
	}()
	<-entered
	var wg sync.WaitGroup
	got10 := make(chan *archive, 10)
	for range 10 {
		wg.Go(func() { got10 <- get(t, s, n) })
	}
	cancel()
	if err := <-leaver; !errors.Is(err, context.Canceled) {
		t.Errorf("the one that left: %v", err)
	}
	synctest.Wait() // all ten wait for the one flight
	close(pass)
	wg.Wait()
	n.fetched(t, 1)
	for range 10 {
		(<-got10).file.Close()
	}
	if got := names(t, s.files.Dir); len(got) != 1 || got[0] != narName(n.id) {
		t.Errorf("files %q", got)
	}
}

// Work that nobody waits for any more is brought to its end, and found by the next.
func TestSpoolAllLeave(t *testing.T) {
	n := makeNAR("a", 100)
	entered, pass := n.gated()
	s := openSpool(t, SpoolOptions{})
	ctx, cancel := context.WithCancel(t.Context())
	leaver := make(chan error)
	go func() {
		_, err := s.acquire(ctx, n.wanted)
		leaver <- err
	}()
	<-entered
	cancel()
	<-leaver
	close(pass)
	use(t, s, n)
	n.fetched(t, 1)
}

func TestSpoolClose(t *testing.T) { synctest.Test(t, testSpoolClose) }

func testSpoolClose(t *testing.T) {
	n, queued, held := makeNAR("a", 100), makeNAR("b", 100), makeNAR("c", 100)
	entered, _ := n.gated()
	s := openSpool(t, SpoolOptions{})
	a := get(t, s, held)
	tr := newTree(held.id.path, a)
	s.fetching.Running = 1 // the next has to wait
	waiting := make(chan error)
	wait := func(n *testNAR) {
		_, err := s.acquire(t.Context(), n.wanted)
		waiting <- err
	}
	go wait(n)
	<-entered
	go wait(queued)
	synctest.Wait()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	for range 2 {
		if err := <-waiting; !errors.Is(err, fs.ErrClosed) || errors.Is(err, context.Canceled) {
			t.Errorf("one that waited: %v", err)
		}
	}
	if _, err := s.acquire(t.Context(), n.wanted); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("after it: %v", err)
	}
	queued.fetched(t, 0)
	if err := read(t, tr, held); err != nil {
		t.Errorf("an archive in use: %v", err)
	}
	tr.Close()
	tr.Close()
	if err := read(t, tr, held); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("a closed tree: %v", err)
	}
	if _, err := a.file.ReadAt(make([]byte, 1), 0); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("its file is still open: %v", err)
	}
}

// A private spool leaves nothing.
func TestSpoolPrivate(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	s, err := OpenSpool(SpoolOptions{})
	if err != nil {
		t.Fatal(err)
	}
	use(t, s, makeNAR("a", 10))
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if left := names(t, os.TempDir()); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

func TestSpoolFails(t *testing.T) {
	broken := errors.New("broken")
	good := makeNAR("a", 1000)
	written := 0
	endless := func(ctx context.Context, w io.Writer) error {
		for range 100 {
			n, err := w.Write(make([]byte, 1<<20))
			if written += n; err != nil {
				return err
			}
		}
		return nil
	}
	for name, tc := range map[string]struct {
		fill filler
		size int64
		want error
	}{
		"fill":     {func(ctx context.Context, w io.Writer) error { w.Write(good.data[:500]); return broken }, good.size, broken},
		"too long": {good.fill, good.size - 1, ErrCorrupt},
		"endless":  {endless, good.size, ErrCorrupt},
		"short":    {good.fill, good.size + 1, ErrCorrupt},
	} {
		s := openSpool(t, SpoolOptions{})
		for range 2 { // it is not remembered
			a, err := s.acquire(t.Context(), wanted{id: good.id, size: tc.size, fill: tc.fill})
			if a != nil || !errors.Is(err, tc.want) {
				t.Errorf("%s: %v", name, err)
			}
			if tc.want == ErrCorrupt && !strings.Contains(err.Error(), string(good.id.path)) {
				t.Errorf("%s: names no path: %v", name, err)
			}
		}
		if left := names(t, s.files.Dir); len(left) > 0 || written > 0 {
			t.Errorf("%s: left %q, %d bytes of a bomb", name, left, written)
		}
		use(t, s, good)
		if _, err := s.acquire(t.Context(), wanted{id: good.id, size: good.size + 1, fill: good.fill}); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: the archive with another size: %v", name, err)
		}
		use(t, s, good)
	}
}

// What is malformed though its hash is right is not fetched again and again.
func TestSpoolMalformed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := narWith("a", dirOf("b", "a"))
		s := openSpool(t, SpoolOptions{})
		refused := func(fetches int) {
			t.Helper()
			_, err := s.acquire(t.Context(), n.wanted)
			if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), string(n.id.path)) {
				t.Error(err)
			}
			n.fetched(t, fetches)
		}
		refused(1)
		refused(1)
		time.Sleep(refusedFor + time.Second)
		refused(2)
		if left := names(t, s.files.Dir); len(left) > 0 {
			t.Errorf("left %q", left)
		}
		closeSpool(t, s)
	})
}

// Many small archives are fetched at once, but few large ones, unless they need no memory.
func TestSpoolSlots(t *testing.T) {
	for _, tc := range []struct {
		c    nar.Compression
		size int64
		want int
	}{
		{nar.XZ, 100, 16}, {nar.Zstd, 32 << 20, 16}, {nar.XZ, 33 << 20, 8}, {nar.Zstd, 65 << 20, 4}, {nar.XZ, 16 << 30, 4},
		{nar.None, 16 << 30, 16}, {nar.Gzip, 16 << 30, 16}, {nar.Bzip2, 16 << 30, 16}, {nar.Brotli, 16 << 30, 16},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := openSpool(t, SpoolOptions{})
			pass := make(chan struct{})
			var at atomic.Int32
			var wg sync.WaitGroup
			for i := range 20 {
				w := wanted{id: makeNAR(fmt.Sprint(i), 10).id, size: tc.size, window: tc.c.Window(tc.size)}
				if i == 0 {
					w.window = 1 << 20 // so that the last ones do not fit exactly
				}
				w.fill = func(context.Context, io.Writer) error {
					at.Add(1)
					<-pass
					return io.EOF
				}
				synctest.Wait()
				wg.Go(func() { s.acquire(t.Context(), w) })
			}
			synctest.Wait()
			if got := int(at.Load()); got != tc.want {
				t.Errorf("%s: %d of %d bytes at once, want %d", tc.c, got, tc.size, tc.want)
			}
			close(pass)
			wg.Wait()
			if at.Load() != 20 {
				t.Errorf("%d were fetched", at.Load())
			}
			closeSpool(t, s)
		})
	}
}
