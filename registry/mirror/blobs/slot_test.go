package blobs

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// start begins to fetch data from h, sends the first half of it to a reader, and returns what the reader gets in the end.
func (h *held) start(ctx context.Context, t *testing.T, c *Origin, data []byte) (result chan error) {
	t.Helper()
	b, err := c.Blob(ctx, digest(data), -1, h.fetch)
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

func fetching(c *Origin, d v1.Hash) bool {
	_, ok := c.Fetching(d)
	return ok
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
				if r := c.fetches; r.free != 3 || r.ending != 0 || len(r.line) != 0 {
					t.Errorf("%d slots are free, %d fetches are to end, %d wait", r.free, r.ending, len(r.line))
				}
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
		b := mustBlob(t, c, digest(data), -1, h.fetch)
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
func TestAbandonedFetchGivesRoom(t *testing.T) {
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
					t.Error("there was room for both")
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
