package blobs

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

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
			if _, err := c.Blob(ctx, digest(o.data), -1, slowly(o, release)); !errors.Is(err, context.DeadlineExceeded) {
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
		go c.Blob(ctx, digest(slow.data), -1, slowly(slow, release))
		synctest.Wait()
		leave()
		synctest.Wait()
		if queued.calls.Load() != 1 || len(wanted) != 0 {
			t.Errorf("%d fetches of the second one when the first one has left", queued.calls.Load())
		}
		time.Sleep(returning)
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

// A fetch that has ended keeps nothing for those who are expected back.
func TestReturningAfterTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open(t, Options{})
		o, release := originOf(content(1, 1000)), make(chan struct{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.Blob(ctx, digest(o.data), -1, slowly(o, release)); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		f := c.flights[flightKey{keyFor(t, digest(o.data)), c}]
		close(release)
		synctest.Wait()
		c.mu.Lock()
		refs := f.refs
		c.mu.Unlock()
		if refs != 0 {
			t.Errorf("%d references are left", refs)
		}
		mustRead(t, c, o.data, nil)
		o.want(t, 1)
		time.Sleep(returning) // nothing more is given back
		wantTidy(t, c)
	})
}

func keyFor(t *testing.T, d v1.Hash) key {
	t.Helper()
	k, err := parseKey(d)
	if err != nil {
		t.Fatal(err)
	}
	return k
}
