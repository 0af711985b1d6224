package diskcache

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nixreg/nixreg/internal/flight"
)

// held is a source whose bytes come when the test sends them. A nil piece is the end.
type held struct {
	size   int64
	pieces chan []byte
	calls  int
}

func newHeld(size int64) *held { return &held{size: size, pieces: make(chan []byte)} }

func (h *held) fill(ctx context.Context, f *Fill) error {
	h.calls++
	if err := f.Announce(h.size); err != nil {
		return err
	}
	for {
		select {
		case p := <-h.pieces:
			if p == nil {
				return nil
			}
			if _, err := f.Write(p); err != nil {
				return err
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// recorder is a writer that can be looked at meanwhile.
type recorder struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (r *recorder) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.b.Write(p)
}

func (r *recorder) bytes() []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return bytes.Clone(r.b.Bytes())
}

// Readers get what has arrived, wherever they start, and the last byte of a range when the whole file is there.
func TestFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		data, c, h := content(1, 1000), open(t, Options{}), newHeld(1000)
		ranges := [][2]int64{{0, 1000}, {100, 900}, {100, 50}, {900, 100}, {499, 1}, {999, 1}}
		got := make([]recorder, len(ranges))
		var wg sync.WaitGroup
		for i, r := range ranges {
			wg.Go(func() {
				f, err := c.Get(t.Context(), keyOf(data), nil, h.fill)
				if err != nil {
					t.Error(err)
					return
				}
				defer f.Close()
				if f.Size() != 1000 {
					t.Error(f.Size())
				}
				if _, err := f.WriteRange(t.Context(), &got[i], r[0], r[1]); err != nil {
					t.Error(err)
				}
			})
		}
		h.pieces <- data[:500]
		synctest.Wait()
		for i, n := range []int64{500, 400, 49, 0, 0, 0} {
			if have := got[i].bytes(); !bytes.Equal(have, data[ranges[i][0]:][:n]) {
				t.Errorf("range %v: %d bytes, want %d", ranges[i], len(have), n)
			}
		}
		if size, ok := c.Filling(keyOf(data), nil); !ok || size != 1000 {
			t.Error(size, ok)
		}
		h.pieces <- data[500:]
		synctest.Wait()
		for i, r := range ranges {
			if have := got[i].bytes(); !bytes.Equal(have, data[r[0]:][:r[1]-1]) {
				t.Errorf("range %v: %d bytes before the whole is there", r, len(have))
			}
		}
		h.pieces <- nil
		wg.Wait()
		for i, r := range ranges {
			if !bytes.Equal(got[i].bytes(), data[r[0]:][:r[1]]) {
				t.Errorf("range %v: wrong", r)
			}
		}
		settle(c)
		if h.calls != 1 {
			t.Errorf("%d fills", h.calls)
		}
		wantTidy(t, c)
		c.Close()
	})
}

// The error of a filler reaches all its callers as it is, nobody gets a last byte, nothing stays, and the next caller starts anew.
func TestFillFails(t *testing.T) {
	broken := errors.New("broken")
	data := content(1, 1000)
	for name, tc := range map[string]struct {
		fill Filler
		want error
	}{
		"at once":  {func(context.Context, *Fill) error { return broken }, broken},
		"later":    {func(_ context.Context, f *Fill) error { f.Announce(1000); f.Write(data); return broken }, broken},
		"short":    {func(_ context.Context, f *Fill) error { f.Announce(1000); f.Write(data[:999]); return nil }, ErrSize},
		"long":     {func(_ context.Context, f *Fill) error { f.Announce(999); _, err := f.Write(data); return err }, ErrSize},
		"no bytes": {func(context.Context, *Fill) error { return nil }, ErrSize},
		"panics":   {func(context.Context, *Fill) error { panic(fs.ErrNotExist) }, nil},
		"Goexit":   {func(context.Context, *Fill) error { runtime.Goexit(); return nil }, nil},
	} {
		c := open(t, Options{})
		err := get(c, data, tc.fill)
		if err == nil || errors.Is(err, fs.ErrNotExist) || tc.want != nil && !errors.Is(err, tc.want) {
			t.Errorf("%s: %v", name, err)
		}
		settle(c)
		wantTidy(t, c)
		add(t, c, data)
	}
}

// A caller that leaves ends nothing: the fill goes on, and ends when it had no waiter for [flight.Linger].
func TestUnwantedFillEnds(t *testing.T) {
	for _, stays := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			data, c, h := content(1, 1000), open(t, Options{}), newHeld(1000)
			ctx, leave := context.WithCancel(t.Context())
			f, err := c.Get(ctx, keyOf(data), nil, h.fill)
			if err != nil {
				t.Fatal(err)
			}
			if stays {
				defer f.Close()
			} else {
				leave()
				f.Close()
			}
			time.Sleep(flight.Linger + 1)
			if _, filling := c.Filling(keyOf(data), nil); filling != stays {
				t.Errorf("stays %v: filling %v", stays, filling)
			}
			leave()
			c.Close()
		})
	}
}

// A fill without a waiter gives up its slot to one that has a waiter, and starts again for a caller that comes later.
func TestUnwantedFillYields(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, q := open(t, Options{}), &flight.Queue{Running: 1}
		queued := func(fill Filler) Filler {
			return func(ctx context.Context, f *Fill) error {
				release, err := q.Acquire(ctx)
				if err != nil {
					return err
				}
				defer release()
				return fill(ctx, f)
			}
		}
		left, wanted := content(1, 1000), content(2, 1000)
		h := newHeld(1000)
		f, err := c.Get(t.Context(), keyOf(left), nil, queued(h.fill))
		if err != nil {
			t.Fatal(err)
		}
		result := make(chan error, 1)
		go func() { result <- get(c, wanted, queued((&source{data: wanted}).fill)) }()
		synctest.Wait()
		if len(result) > 0 {
			t.Error("two fills at once")
		}
		f.Close()
		closed := time.Now()
		if err := <-result; err != nil || time.Since(closed) > 0 {
			t.Errorf("%v, after %v", err, time.Since(closed))
		}
		add(t, c, left)
		wantTidy(t, c)
		c.Close()
	})
}

func TestCloseEndsFills(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		data, before, c, h := content(1, 1000), content(2, 1000), open(t, Options{}), newHeld(1000)
		add(t, c, before)
		held, err := c.Open(t.Context(), keyOf(before))
		if err != nil {
			t.Fatal(err)
		}
		results := make(chan error, 2)
		for range 2 {
			go func() { results <- get(c, data, h.fill) }()
		}
		synctest.Wait()
		c.Close()
		for range 2 {
			if err := <-results; !errors.Is(err, fs.ErrClosed) || errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		}
		for _, data := range [][]byte{data, before} {
			if err := get(c, data, h.fill); !errors.Is(err, fs.ErrClosed) {
				t.Errorf("afterwards: %v", err)
			}
		}
		if err := wantRange(held, before, 0, 1000); err != nil {
			t.Errorf("an open file: %v", err)
		}
		held.Close()
		wantTidy(t, c)
		c.Close()
	})
}

// A source keeps nobody from another one, not even from the same key.
func TestSourcesDoNotWaitForEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		data, c, h := content(1, 1000), open(t, Options{}), newHeld(1000)
		f, err := c.Get(t.Context(), keyOf(data), "slow", h.fill)
		if err != nil {
			t.Fatal(err)
		}
		if err := get(c, data, (&source{data: data}).fill); err != nil {
			t.Error(err)
		}
		h.pieces <- data
		h.pieces <- nil
		if err := errors.Join(f.Wait(t.Context()), wantRange(f, data, 0, 1000)); err != nil {
			t.Error(err)
		}
		f.Close()
		settle(c)
		wantTidy(t, c)
		c.Close()
	})
}

// Files go when bytes come, not before.
func TestBytesEvict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, all, h := open(t, Options{Max: 300}), contents(3, 100), newHeld(150)
		for _, data := range all {
			add(t, c, data)
		}
		big := content(9, 150)
		f, err := c.Get(t.Context(), keyOf(big), nil, h.fill)
		if err != nil {
			t.Fatal(err)
		}
		wantKept(t, c, all, "kkk")
		h.pieces <- big[:100]
		synctest.Wait()
		wantKept(t, c, all, "-kk")
		if s := c.Stats(); s.Growing != 100 {
			t.Errorf("%+v", s)
		}
		h.pieces <- nil // too short
		settle(c)
		f.Close()
		wantTidy(t, c)
		c.Close()
	})
}

// full writes as a disk does that has place for so many bytes, kept files included.
func full(c *Cache, space int) func(*os.File, []byte, int64) (int, error) {
	return func(f *os.File, p []byte, off int64) (int, error) {
		left := space - int(c.Stats().Bytes) - int(off)
		if len(p) <= left {
			return f.WriteAt(p, off)
		}
		n, err := f.WriteAt(p[:max(left, 0)], off)
		if err == nil {
			err = &fs.PathError{Op: "write", Path: f.Name(), Err: syscall.ENOSPC}
		}
		return n, err
	}
}

// On a full disk files are evicted, for a file that will be kept. If that is not enough, the error matches ENOSPC.
func TestDiskFull(t *testing.T) {
	c, all := open(t, Options{Max: 1000}), append(contents(4, 100), content(8, 150))
	for _, data := range all[:4] {
		add(t, c, data)
	}
	c.writeAt = full(c, 420)
	add(t, c, all[4])
	wantKept(t, c, all, "--kkk")
	f, err := c.Open(t.Context(), keyOf(all[2])) // a file in use stays
	if err != nil {
		t.Fatal(err)
	}
	add(t, c, all[0])
	wantKept(t, c, all, "k-k-k")
	f.Close()
	for _, tooMuch := range [][]byte{content(9, 1001), content(9, 421)} {
		if err := get(c, tooMuch, (&source{data: tooMuch}).fill); !errors.Is(err, syscall.ENOSPC) || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("got %v", err)
		}
		settle(c)
		if len(tooMuch) > 1000 {
			wantKept(t, c, all, "k-k-k")
		}
		wantTidy(t, c)
	}
}

// Of the disk, something is left to others: files go for it. If that does not help, what comes is not kept, or fails.
func TestSpare(t *testing.T) {
	const spare = 1 << 20
	c := open(t, Options{Max: 1000, Spare: spare})
	room := int64(420)
	c.freeSpace = func(dir string) (n int64, err error) {
		files, err := List(dir, layout)
		for f := range files {
			info, err := os.Stat(f)
			if err != nil {
				return 0, err
			}
			n += info.Size()
		}
		return spare + room - n, err
	}
	all := append(contents(4, 100), content(8, 150), content(9, 421))
	for i, want := range []string{"k-----", "kk----", "kkk---", "kkkk--", "--kkk-", "------"} {
		add(t, c, all[i])
		wantKept(t, c, all, want)
	}
	add(t, c, all[0])
	room = -spare / 2
	for _, data := range [][]byte{content(10, 1001), all[4]} {
		wantKept(t, c, all, "k-----")
		if err := get(c, data, (&source{data: data}).fill); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("got %v", err)
		}
		settle(c)
	}
	wantTidy(t, c)
	c.freeSpace = func(string) (int64, error) { return 0, errors.ErrUnsupported }
	add(t, c, all[1])
	wantKept(t, c, all, "-k----")
	if n, err := freeSpace(t.TempDir()); err != nil || n <= 0 {
		t.Errorf("%d bytes, %v", n, err)
	}
}

// What is wrong with the cache's own files does not look like an answer about the content.
func TestOwnErrorsAreNoAnswers(t *testing.T) {
	data := content(1, 10)
	c := open(t, Options{})
	incoming := filepath.Join(c.Dir, "incoming")
	if err := errors.Join(os.Remove(incoming), os.Symlink("nowhere", incoming)); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{get(c, data, (&source{data: data}).fill), ownError(syscall.EACCES)} {
		if err == nil || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			t.Errorf("got %v", err)
		}
	}
	if err := os.Remove(incoming); err != nil {
		t.Fatal(err)
	}
	add(t, c, data)
}

// A file whose key is known in the end only is kept by Commit, in place of what is there.
func TestCreate(t *testing.T) {
	data, c := content(1, 1000), open(t, Options{})
	for _, end := range []func(f *Fill){(*Fill).Discard, func(f *Fill) {
		if err := f.Commit(keyOf(data)); err != nil {
			t.Error(err)
		}
	}} {
		for range 2 {
			f, err := c.Create()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.Write(data); err != nil {
				t.Fatal(err)
			}
			end(f)
			wantTidy(t, c)
		}
	}
	if err := get(c, data, nil); err != nil {
		t.Error(err)
	}
}

// Fills, readers and harm at the same time: nobody gets a wrong byte, and all adds up in the end.
func TestCrowd(t *testing.T) {
	c, all := open(t, Options{Max: 100_000}), contents(20, 20_000)
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			data := all[i*7%len(all)]
			if i%20 == 3 {
				_ = os.Truncate(c.Path(keyOf(data)), 100)
			}
			err := get(c, data, func(_ context.Context, f *Fill) error {
				err := f.Announce(-1)
				for p := range bytes.SplitSeq(data, []byte{7}) {
					if f.Written() > 0 {
						p = append([]byte{7}, p...)
					}
					if _, werr := f.Write(p); werr != nil {
						err = werr
					}
				}
				return err
			})
			if err != nil && !errors.Is(err, ErrChanged) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	settle(c)
	if s := c.Stats(); s.Bytes > c.Max || s.Growing != 0 {
		t.Errorf("%+v", s)
	}
}

const childDir = "DISKCACHE_TEST_DIR"

// TestMain lets the test binary be the process that is killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		c, err := New(Options{Dir: dir, Layout: layout, Max: 1 << 20, Sync: true})
		for n := 0; err == nil; n++ {
			data := content(uint64(n%10), 256<<10)
			err = get(c, data, func(_ context.Context, f *Fill) error {
				err := f.Announce(int64(len(data)))
				for len(data) > 0 && err == nil {
					_, err = f.Write(data[:32<<10])
					data = data[32<<10:]
					fmt.Println("piece")
				}
				return err
			})
			fmt.Println(n)
		}
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// Whenever the process is killed, what has the name of a file is whole.
func TestKilled(t *testing.T) {
	dir, total := t.TempDir(), 0
	for round := range 15 {
		killAfter(t, dir, 1+round*3)
		files, err := List(dir, layout)
		if err != nil {
			t.Fatal(err)
		}
		for file, sum := range files {
			if b, err := os.ReadFile(file); err != nil || sha256.Sum256(b) != sum {
				t.Errorf("%s has %d other bytes, %v", file, len(b), err)
			}
		}
		total += len(files)
		c := open(t, Options{Dir: dir, Max: 1 << 20})
		wantTidy(t, c)
		c.Close()
	}
	if total == 0 {
		t.Error("nothing was ever kept")
	}
}

// killAfter runs a child on dir and kills it when it has printed n lines, in the middle of what comes next.
func killAfter(t *testing.T, dir string, n int) {
	t.Helper()
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append(os.Environ(), childDir+"="+dir)
	out, err := child.StdoutPipe()
	if err == nil {
		err = child.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	lines, said := bufio.NewScanner(out), 0
	for lines.Scan() {
		if said++; said == n {
			_ = child.Process.Kill()
		}
	}
	if err := child.Wait(); err == nil || said < n {
		t.Fatalf("the child ended by itself after %d lines: %s", said, lines.Text())
	}
}

// A fill that is announced while the cache is being closed gives its callers no file.
func TestAnnouncedAfterClose(t *testing.T) {
	c := open(t, Options{})
	begun, result := make(chan struct{}), make(chan error, 1)
	go func() {
		_, err := c.Get(context.Background(), keyOf(nil), nil, func(ctx context.Context, f *Fill) error {
			close(begun)
			<-ctx.Done()
			return f.Announce(1)
		})
		result <- err
	}()
	<-begun
	c.Close()
	if err := <-result; !errors.Is(err, fs.ErrClosed) {
		t.Errorf("got %v", err)
	}
}
