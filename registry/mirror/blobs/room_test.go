package blobs

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/iotest"
	"testing/synctest"
)

// starting asks for a blob, and tells how that ends.
func starting(ctx context.Context, c *Origin, data []byte, h *held) <-chan error {
	result := make(chan error, 1)
	go func() {
		_, err := c.Blob(ctx, digest(data), -1, h.fetch)
		result <- err
	}()
	synctest.Wait()
	return result
}

// What is being fetched has room within Max together. Small blobs do not wait behind large ones.
func TestFetchesShareTheRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open(t, Options{Max: 100 << 20})
		large := contents(4, 10) // what they say is more
		h := make([]*held, len(large))
		for i := range h {
			h[i] = &held{size: 60 << 20}
		}
		ctx, leave := context.WithCancel(t.Context())
		first := starting(ctx, c, large[0], h[0])
		left := starting(ctx, c, large[1], h[1])
		second := starting(t.Context(), c, large[2], h[2])
		if len(first) != 1 || len(left)+len(second) != 0 {
			t.Fatal("they do not wait")
		}
		if got := c.Stats().Growing; got != 60<<20 {
			t.Errorf("%d bytes are set aside", got)
		}
		small := content(9, 100)
		mustRead(t, c, small, originOf(small).fetch)
		leave()
		if err := <-left; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		synctest.Wait()
		if fetching(c, digest(large[1])) || !fetching(c, digest(large[0])) {
			t.Error("what nobody waits for goes on, or what has begun does not")
		}
		h[0].pipe.CloseWithError(errOrigin)
		if err := <-second; err != nil {
			t.Error(err)
		}
		last := starting(t.Context(), c, large[3], h[3])
		c.Close()
		if err := <-last; !errors.Is(err, fs.ErrClosed) {
			t.Errorf("got %v", err)
		}
		wantTidy(t, c)
	})
}

// A fetch that all have left before it needs to wait for room is given up.
func TestLeftBeforeTheRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open(t, Options{Max: 100 << 20})
		all := contents(2, 10)
		h := []*held{{size: 60 << 20}, {size: 60 << 20}}
		mustBlob(t, c, digest(all[0]), -1, h[0].fetch)
		pass := make(chan struct{})
		ctx, leave := context.WithCancel(t.Context())
		result := make(chan error, 1)
		go func() {
			_, err := c.Blob(ctx, digest(all[1]), -1, func(ctx context.Context) (io.ReadCloser, int64, error) {
				<-pass
				return h[1].fetch(ctx)
			})
			result <- err
		}()
		synctest.Wait()
		leave()
		if err := <-result; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		close(pass)
		synctest.Wait()
		if !fetching(c, digest(all[0])) || fetching(c, digest(all[1])) {
			t.Error("the wrong one goes on")
		}
	})
}

// Who comes later and wants less does not go first for ever.
func TestRoomIsGivenInTurn(t *testing.T) {
	const mb = 1 << 20
	r := newRoom(100 * mb)
	got := func(t *turn) bool {
		select {
		case <-t.got:
			return true
		default:
			return false
		}
	}
	if r.enter(60*mb) != nil {
		t.Fatal("no room")
	}
	a, b, d := r.enter(70*mb), r.enter(10*mb), r.enter(10*mb)
	if a == nil || b == nil || d == nil {
		t.Fatal("out of turn")
	}
	r.leave(b)
	r.give(60 * mb)
	if !got(a) || got(b) || !got(d) || r.free != 20*mb {
		t.Errorf("%v %v %v, %d free", got(a), got(b), got(d), r.free)
	}
	b = r.enter(30 * mb)
	last := r.enter(20 * mb)
	r.leave(b) // lets the next one in
	if !got(last) {
		t.Error("the line stands still")
	}
	r.leave(a) // which it had got
	if r.free != 70*mb || len(r.line) != 0 {
		t.Errorf("%d free, %d wait", r.free, len(r.line))
	}
}

// Only one blob that is larger than the cache is fetched at a time.
func TestOnePassesAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open(t, Options{Max: smallSize + 10})
		all := contents(2, 10)
		h := []*held{{size: smallSize + 11}, {size: smallSize + 12}}
		first := starting(t.Context(), c, all[0], h[0])
		second := starting(t.Context(), c, all[1], h[1])
		if len(first) != 1 || len(second) != 0 {
			t.Error("both pass")
		}
		small := content(9, 100) // has room
		mustRead(t, c, small, originOf(small).fetch)
		h[0].pipe.CloseWithError(errOrigin)
		if err := <-second; err != nil {
			t.Error(err)
		}
		h[1].pipe.CloseWithError(errOrigin)
		synctest.Wait()
		wantTidy(t, c)
	})
}

// Blobs of unsaid size that have no room together neither wait for each other for ever, nor fail.
func TestGrowingTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open(t, Options{Max: 300})
		all := contents(4, 200)
		h := make([]*held, len(all))
		results := make(chan error, len(all))
		for i, data := range all {
			h[i] = &held{size: -1}
			go func() { // whose size is known when all of it is there
				_, err := c.Blob(t.Context(), digest(data), -1, h[i].fetch)
				results <- err
			}()
		}
		synctest.Wait()
		for i := range all[:3] {
			h[i].send(t, all[i][:100])
			synctest.Wait()
		}
		for i := range all { // there is no room left
			go func() {
				if i < 3 {
					h[i].send(t, all[i][100:])
				} else {
					h[i].send(t, all[i])
				}
				h[i].pipe.Close()
			}()
		}
		for range all {
			if err := <-results; err != nil {
				t.Error(err)
			}
		}
		synctest.Wait()
		wantTidy(t, c)
		for i := range h {
			if n := h[i].calls.Load(); n != 1 {
				t.Errorf("%d fetches", n)
			}
		}
	})
}

func readUnsized(c *Origin, data []byte, fetch Fetch) error {
	b, err := c.Blob(context.Background(), digest(data), -1, fetch)
	if err != nil {
		return err
	}
	return wantRange(b, data, 0, b.Size())
}

// onDisk counts the bytes of a cache's files, but for those that are about to be removed.
func onDisk(dir string) (n int64) {
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && !strings.HasPrefix(d.Name(), tempPrefix+"gone-") {
			if fi, err := d.Info(); err == nil {
				n += fi.Size()
			}
		}
		return nil
	})
	return n
}

// However many fetch and put at once, there is never more on the disk than is allowed.
func TestMaxHolds(t *testing.T) {
	const limit = 1000
	c := open(t, Options{Max: limit})
	var most atomic.Int64
	var mu sync.Mutex
	c.writeAt = func(f *os.File, p []byte, off int64) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		n, err := f.WriteAt(p, off)
		c.mu.Lock() // no blob goes while they are counted
		defer c.mu.Unlock()
		most.Store(max(most.Load(), onDisk(c.index.dir)))
		return n, err
	}
	origins := []*Origin{c, c.Cache.Origin(0)}
	all := contents(24, 240)
	var wg sync.WaitGroup
	for i, data := range all {
		wg.Go(func() {
			fetch := func(context.Context) (io.ReadCloser, int64, error) {
				return io.NopCloser(iotest.HalfReader(bytes.NewReader(data))), []int64{240, -1}[i/2%2], nil
			}
			var err error
			if i%6 == 5 {
				err = c.Put(t.Context(), digest(data), data)
			} else {
				err = readUnsized(origins[i%2], data, fetch)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, data := range all {
		settle(c, digest(data))
	}
	if n := most.Load(); n > 2*limit || n == 0 { // what passes has as much again
		t.Errorf("%d bytes on the disk", n)
	}
	if s := c.Stats(); s.Kept > limit || s.Growing != 0 {
		t.Errorf("%+v", s)
	}
	wantTidy(t, c)
}

// Of the disk, something is left to others: blobs go for it, and if that does not help, what comes is not kept.
func TestSpareSpace(t *testing.T) {
	c := open(t, Options{Max: 1000})
	room := int64(420)
	c.freeSpace = func(dir string) (int64, error) { return spareSpace + room - onDisk(dir), nil }
	all := append(contents(4, 100), content(8, 150), content(9, 421))
	for _, data := range all[:5] {
		mustRead(t, c, data, originOf(data).fetch)
	}
	wantKept(t, c, all, "--kkk-")
	mustRead(t, c, all[5], originOf(all[5]).fetch)
	wantKept(t, c, all, "------")
	if err := c.Put(t.Context(), digest(all[5]), all[5]); err != nil {
		t.Error(err)
	}
	wantKept(t, c, all, "------")
	mustRead(t, c, all[0], originOf(all[0]).fetch)
	room = -spareSpace / 2
	big := content(10, 1001) // has no right to the place of others
	for _, data := range [][]byte{big, all[4]} {
		wantKept(t, c, all, "k-----")
		if err := read(c, data, originOf(data).fetch); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("got %v", err)
		}
		settle(c, digest(data))
	}
	wantTidy(t, c)
	c.freeSpace = func(string) (int64, error) { return 0, errors.ErrUnsupported }
	mustRead(t, c, all[1], originOf(all[1]).fetch)
	wantKept(t, c, all, "-k----")
}

// A file that makes place is removed later, by when its blob may have come again.
func TestEvictedFileGoesLater(t *testing.T) {
	data := content(1, 100)
	c := open(t, Options{})
	mustRead(t, c, data, originOf(data).fetch)
	c.mu.Lock()
	gone := c.index.evict(0)
	c.mu.Unlock()
	if err := c.Put(t.Context(), digest(data), data); err != nil {
		t.Fatal(err)
	}
	if len(gone) != 1 || slices.Contains(gone, fileOf(c, data)) {
		t.Errorf("files to remove: %q", gone)
	}
	c.unlink(gone)
	mustRead(t, c, data, nil)
	wantTidy(t, c)
}

func TestFreeSpace(t *testing.T) {
	if n, err := freeSpace(t.TempDir()); err != nil || n <= 0 {
		t.Errorf("%d bytes, %v", n, err)
	}
	if _, err := freeSpace(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}
