package blobs

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// start begins to fetch data from h, sends the first half of it to a reader, and returns what the reader gets in the end.
func (h *held) start(ctx context.Context, t *testing.T, c *Origin, data []byte) (result chan error) {
	t.Helper()
	b, err := blobOf(ctx, t, c, digest(data), h.fetch)
	if err != nil {
		t.Fatal(err)
	}
	result = make(chan error, 1)
	go func() { result <- b.WriteRange(ctx, &recorder{}, 0, b.Size()) }()
	h.send(t, data[:len(data)/2])
	synctest.Wait()
	return result
}

// finish sends the rest of data.
func (h *held) finish(t *testing.T, data []byte) {
	t.Helper()
	h.send(t, data[len(data)/2:])
	h.pipe.Close()
	synctest.Wait()
}

// A fetch that nobody waits for any more ends where another one waits for its slot, whichever came first, and no other
// fetch does. Who wants it later gets it.
func TestAbandonedFetchYields(t *testing.T) {
	for name, first := range map[string]bool{"left before another is wanted": true, "left after": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := open(t, Options{}).Origin(3)
				var data [4][]byte
				var from [3]held
				for i := range data {
					data[i] = content(uint64(i), 1000)
				}
				for i := range from {
					from[i].size = 1000
				}
				ctx, leave := context.WithCancel(t.Context())
				defer leave()
				left, left2 := from[0].start(ctx, t, c, data[0]), from[1].start(ctx, t, c, data[1])
				stayed := from[2].start(t.Context(), t, c, data[2])
				if first {
					leave()
					synctest.Wait()
				}
				wanted, last := make(chan error, 1), originOf(data[3])
				go func() { wanted <- read(c, data[3], last.fetch) }()
				synctest.Wait()
				if !first {
					leave()
					synctest.Wait()
				}
				for _, r := range []chan error{left, left2} {
					if err := <-r; !errors.Is(err, context.Canceled) {
						t.Errorf("who has left: %v", err)
					}
				}
				if last.calls.Load() != 1 {
					t.Fatal("what is wanted waits for what nobody wants")
				}
				from[2].finish(t, data[2])
				if err := errors.Join(<-stayed, <-wanted); err != nil {
					t.Error(err)
				}
				other := 0
				if !fetching(c, digest(data[0])) {
					other = 1
				}
				if !fetching(c, digest(data[other])) || fetching(c, digest(data[1-other])) {
					t.Fatal("not one of the two has ended")
				}
				from[other].finish(t, data[other])
				again := originOf(data[1-other])
				mustRead(t, c, data[1-other], again.fetch)
				again.want(t, 1)
				wantKept(t, c, data[:], "kkkk")
				wantTidy(t, c)
			})
		})
	}
}

// A Blob that is yet to be read is wanted.
func TestBlobYetToBeReadIsNotEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open(t, Options{}).Origin(1)
		data, other := content(1, 1000), content(2, 1000)
		h := &held{size: 1000}
		b := mustBlob(t, c, digest(data), h.fetch)
		result := make(chan error, 1)
		o := originOf(other)
		go func() { result <- read(c, other, o.fetch) }()
		synctest.Wait()
		if o.calls.Load() > 0 {
			t.Error("two fetches at once")
		}
		h.send(t, data[:500])
		h.finish(t, data)
		if err := errors.Join(wantRange(b, data, 0, 1000), <-result); err != nil {
			t.Error(err)
		}
		if n := h.calls.Load(); n != 1 {
			t.Errorf("%d fetches", n)
		}
	})
}

// What a fetch that nobody waits for any more has set aside is for those who wait for it.
func TestAbandonedFetchGivesSpace(t *testing.T) {
	for name, max := range map[string]int64{"that is kept": 1000, "that passes": 500} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := open(t, Options{Max: max})
				data, other := content(1, 800), content(2, 700)
				h, o := held{size: 800}, originOf(other)
				ctx, leave := context.WithCancel(t.Context())
				defer leave()
				left := h.start(ctx, t, c, data)
				result := make(chan error, 1)
				go func() { result <- read(c.Cache.Origin(0), other, o.fetch) }()
				synctest.Wait()
				if len(result) > 0 {
					t.Error("there was space for both")
				}
				leave()
				if err := <-left; !errors.Is(err, context.Canceled) {
					t.Errorf("who has left: %v", err)
				}
				synctest.Wait()
				if len(result) == 0 {
					t.Error("what is wanted waits for what nobody wants")
					h.finish(t, data)
				}
				if err := <-result; err != nil {
					t.Error(err)
				}
				synctest.Wait()
				wantTidy(t, c)
			})
		})
	}
}

// slowly is an origin that does not answer until release is closed.
func slowly(o *origin, release chan struct{}) Fetch {
	return func(ctx context.Context) (io.ReadCloser, int64, error) {
		o.calls.Add(1)
		select {
		case <-release:
			o.calls.Add(-1)
			return o.fetch(ctx)
		case <-ctx.Done():
			return nil, 0, ctx.Err()
		}
	}
}

// One whose deadline has passed comes back to the same fetch, with its slot or its place in the line, though another one
// waits for it; who does not come back, or comes back and leaves for good, is waited for no longer.
func TestDeadlineIsNotLeaving(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open(t, Options{}).Origin(1)
		slow, queued, last := originOf(content(1, 1000)), originOf(content(2, 1000)), originOf(content(3, 1000))
		release := make(chan struct{})
		var hops atomic.Int32
		hop := func(o *origin) {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			if _, err := blobOf(ctx, t, c, digest(o.data), slowly(o, release)); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("a hop: %v", err)
			}
			hops.Add(1)
		}
		for _, o := range []*origin{slow, queued} {
			go func() {
				for range 3 {
					hop(o)
				}
			}()
			synctest.Wait()
		}
		wanted := make(chan error, 1)
		go func() { wanted <- read(c, last.data, last.fetch) }()
		time.Sleep(61 * time.Second)
		synctest.Wait()
		if slow.calls.Load() != 1 || queued.calls.Load() != 0 || hops.Load() != 6 || len(wanted) != 0 {
			t.Fatalf("%d and %d fetches after %d hops", slow.calls.Load(), queued.calls.Load(), hops.Load())
		}
		ctx, leave := context.WithCancel(t.Context())
		go blobOf(ctx, t, c, digest(slow.data), slowly(slow, release))
		synctest.Wait()
		leave()
		synctest.Wait()
		if queued.calls.Load() != 1 || len(wanted) != 0 {
			t.Errorf("%d fetches of the second one when the first one has left", queued.calls.Load())
		}
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if len(wanted) != 1 {
			t.Error("the third one waits for those who did not come back")
		}
		if err := <-wanted; err != nil {
			t.Error(err)
		}
		wantTidy(t, c)
	})
}

// starting asks for a blob, and tells how that ends.
func starting(ctx context.Context, t *testing.T, c *Origin, data []byte, h *held) <-chan error {
	result := make(chan error, 1)
	go func() {
		_, err := blobOf(ctx, t, c, digest(data), h.fetch)
		result <- err
	}()
	synctest.Wait()
	return result
}

// What is being fetched has space within Max together. Small blobs do not wait behind large ones.
func TestFetchesShareTheSpace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open(t, Options{Max: 100 << 20})
		large := contents(4, 10) // what they say is more
		h := make([]*held, len(large))
		for i := range h {
			h[i] = &held{size: 60 << 20}
		}
		ctx, leave := context.WithCancel(t.Context())
		first := starting(ctx, t, c, large[0], h[0])
		left := starting(ctx, t, c, large[1], h[1])
		second := starting(t.Context(), t, c, large[2], h[2])
		if len(first) != 1 || len(left)+len(second) != 0 {
			t.Fatal("they do not wait")
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
		last := starting(t.Context(), t, c, large[3], h[3])
		c.Close()
		if err := <-last; !errors.Is(err, fs.ErrClosed) {
			t.Errorf("got %v", err)
		}
		wantTidy(t, c)
	})
}

// Only one blob that is larger than the cache is fetched at a time.
func TestOnePassesAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open(t, Options{Max: smallSize + 10})
		all := contents(2, 10)
		h := []*held{{size: smallSize + 11}, {size: smallSize + 12}}
		first := starting(t.Context(), t, c, all[0], h[0])
		second := starting(t.Context(), t, c, all[1], h[1])
		if len(first) != 1 || len(second) != 0 {
			t.Error("both pass")
		}
		small := content(9, 100) // has space
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

// Blobs of unsaid size that have no space together neither wait for each other for ever, nor fail.
func TestGrowingTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open(t, Options{Max: 300})
		all := contents(4, 200)
		h := make([]*held, len(all))
		results := make(chan error, len(all))
		for i, data := range all {
			h[i] = &held{size: -1}
			go func() { // whose size is known when all of it is there
				_, err := blobOf(t.Context(), t, c, digest(data), h[i].fetch)
				results <- err
			}()
		}
		synctest.Wait()
		for i := range all[:3] {
			h[i].send(t, all[i][:100])
			synctest.Wait()
		}
		for i := range all { // there is no space left
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

// An origin that does not answer keeps nobody from another one, not even from the same blob.
func TestOriginsDoNotWaitForEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := open(t, Options{}).Origin(1)
		quick := slow.Cache.Origin(1)
		data, other := content(1, 100), content(2, 100)
		pass := make(chan struct{})
		fetch := func(context.Context) (io.ReadCloser, int64, error) {
			<-pass
			return nil, 0, errOrigin
		}
		results := make(chan error, 2)
		for _, data := range [][]byte{data, other} {
			go func() { results <- read(slow, data, fetch) }()
		}
		synctest.Wait()
		if !fetching(slow, digest(data)) || fetching(quick, digest(data)) {
			t.Error("it is fetched from the wrong origin")
		}
		for _, data := range [][]byte{data, other} {
			o := originOf(data)
			if err := read(quick, data, o.fetch); err != nil {
				t.Error(err)
			}
		}
		close(pass)
		for range 2 {
			if err := <-results; !errors.Is(err, errOrigin) {
				t.Errorf("got %v", err)
			}
		}
		synctest.Wait()
		wantKept(t, slow, [][]byte{data, other}, "kk")
		wantTidy(t, slow)
	})
}

// What is not kept is there for the first who reads it, though its fetch has ended.
func TestNotKeptIsFetchedOnce(t *testing.T) {
	data := content(1, 301)
	for _, said := range []int64{-1, 301} {
		c := open(t, Options{Max: 300})
		o := &origin{data: data, size: said}
		b := mustBlob(t, c, digest(data), o.fetch)
		settle(c, digest(data))
		if err := wantRange(b, data, 0, 301); err != nil {
			t.Error(err)
		}
		o.want(t, 1)
		if err := wantRange(b, data, 1, 300); err != nil { // and for those after him, again
			t.Error(err)
		}
		settle(c, digest(data))
		o.want(t, 2)
		b = mustBlob(t, c, digest(data), o.fetch)
		settle(c, digest(data))
		c.Close()
		if err := wantRange(b, data, 0, 301); err != nil { // it is open
			t.Errorf("after Close: %v", err)
		}
		if err := wantRange(b, data, 0, 301); !errors.Is(err, fs.ErrClosed) {
			t.Errorf("after Close, again: %v", err)
		}
	}
}

// A Blob that nobody reads leaves no file open.
func TestForgottenBlob(t *testing.T) {
	data := content(1, 301)
	c := open(t, Options{Max: 300})
	b, err := c.Blob(t.Context(), digest(data), (&origin{data: data, size: -1}).fetch)
	if err != nil {
		t.Fatal(err)
	}
	f := b.followed
	settle(c, digest(data))
	for { // until the file is closed
		runtime.GC()
		if _, err := f.ReadAt(make([]byte, 1), 0); errors.Is(err, fs.ErrClosed) {
			return
		}
	}
}

// wantKept checks which of the blobs are kept.
func wantKept(t *testing.T, c *Origin, all [][]byte, want string) {
	t.Helper()
	got := make([]byte, len(all))
	for i, data := range all {
		got[i] = '-'
		if _, ok := c.Has(digest(data)); ok {
			got[i] = 'k'
		}
	}
	if string(got) != want {
		t.Errorf("kept %s, want %s", got, want)
	}
}

func contents(n, size int) [][]byte {
	all := make([][]byte, n)
	for i := range all {
		all[i] = content(uint64(i), size)
	}
	return all
}

// What is larger than the cache reaches its readers, and costs nobody's place.
func TestLargerThanTheCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open(t, Options{Max: 300})
		small, big := content(1, 100), content(2, 301)
		mustRead(t, c, small, originOf(small).fetch)
		h := &held{size: 301}
		b := mustBlob(t, c, digest(big), h.fetch)
		results := make(chan error, 2)
		for range 2 {
			go func() { results <- wantRange(b, big, 1, 300) }()
		}
		h.send(t, big)
		synctest.Wait()
		h.pipe.Close()
		for range 2 {
			if err := <-results; err != nil {
				t.Error(err)
			}
		}
		settle(c, digest(big))
		wantKept(t, c, [][]byte{small, big}, "k-")
		wantTidy(t, c)
		if err := c.Put(t.Context(), digest(big), big); err != nil {
			t.Error(err)
		}
		wantKept(t, c, [][]byte{small, big}, "k-")
	})
}

func TestNothingIsKept(t *testing.T) {
	cache, err := Open(Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer cache.Close()
	c := cache.Origin(0)
	for _, n := range []int{1, 1000} {
		data := content(1, n)
		mustRead(t, c, data, originOf(data).fetch)
		wantKept(t, c, [][]byte{data}, "-")
	}
	wantTidy(t, c)
}
