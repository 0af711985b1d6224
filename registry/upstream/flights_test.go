package upstream

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
)

// One whose context ends leaves the work to the others; any other error is everyone's.
func TestFlights(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f flights[int]
		boom := errors.New("boom")
		ctx, leave := context.WithCancel(t.Context())
		release := make(chan struct{})
		errs := make(chan error, 3)
		runs := 0
		go func() {
			_, err := f.do(ctx, "k", func() (int, error) { runs++; <-ctx.Done(); return 0, ctx.Err() })
			errs <- err
		}()
		synctest.Wait()
		for range 2 {
			go func() {
				_, err := f.do(t.Context(), "k", func() (int, error) { runs++; <-release; return 0, boom })
				errs <- err
			}()
		}
		synctest.Wait()
		leave()
		if err := <-errs; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		synctest.Wait()
		close(release)
		if a, b := <-errs, <-errs; a != boom || b != boom || runs != 2 || len(f.running) != 0 {
			t.Errorf("%v, %v after %d runs", a, b, runs)
		}
	})
}

// A panic leaves nobody waiting.
func TestFlightPanics(t *testing.T) {
	var f flights[int]
	func() {
		defer func() { recover() }()
		f.do(t.Context(), "k", func() (int, error) { panic("boom") })
	}()
	if n, err := f.do(t.Context(), "k", func() (int, error) { return 7, nil }); n != 7 || err != nil {
		t.Error(n, err)
	}
}
