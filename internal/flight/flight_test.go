package flight

import (
	"context"
	"errors"
	"io/fs"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

func TestOnceComputesOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGroup(t.Context())
		defer g.Close()
		var runs atomic.Int32
		release := make(chan struct{})
		compute := func(context.Context) (int, error) {
			<-release
			return int(runs.Add(1)), nil
		}
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				if v, err := Once(t.Context(), g, "k", compute); v != 1 || err != nil {
					t.Errorf("got %d, %v", v, err)
				}
			})
		}
		synctest.Wait() // all of them wait for one
		close(release)
		wg.Wait()
		if v, err := Once(t.Context(), g, "k", compute); v != 2 || err != nil {
			t.Errorf("after the first computation: got %d, %v; nothing should be kept", v, err)
		}
		if len(g.calls) != 0 {
			t.Errorf("%d calls are kept", len(g.calls))
		}
	})
}

func TestOnceOutlivesItsCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGroup(t.Context())
		defer g.Close()
		release := make(chan struct{})
		compute := func(ctx context.Context) (string, error) {
			<-release
			return "done", ctx.Err()
		}
		ctx, leave := context.WithCancel(t.Context())
		first, second := make(chan error, 1), make(chan string, 1)
		go func() {
			_, err := Once(ctx, g, "k", compute)
			first <- err
		}()
		synctest.Wait()
		go func() {
			v, _ := Once(t.Context(), g, "k", func(context.Context) (string, error) { return "again", nil })
			second <- v
		}()
		synctest.Wait()
		leave()
		if err := <-first; !errors.Is(err, context.Canceled) {
			t.Errorf("the caller that left: %v", err)
		}
		close(release)
		if v := <-second; v != "done" {
			t.Errorf("the caller that stayed got %q", v)
		}
	})
}

func TestOnceDoesNotStartForTheGone(t *testing.T) {
	g := NewGroup(t.Context())
	defer g.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := Once(ctx, g, "k", func(context.Context) (int, error) {
		t.Error("computed")
		return 0, nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestOnceErrorAndPanic(t *testing.T) {
	g := NewGroup(t.Context())
	defer g.Close()
	_, err := Once(t.Context(), g, "k", func(context.Context) (int, error) { return 1, fs.ErrNotExist })
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error: %v", err)
	}
	v, err := Once(t.Context(), g, "k", func(context.Context) (int, error) { panic(fs.ErrNotExist) })
	if v != 0 || err == nil || errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "flight_test.go") {
		t.Errorf("panic: %d, %v; want an opaque error with the stack", v, err)
	}
	v, err = Once(t.Context(), g, "k", func(context.Context) (int, error) { runtime.Goexit(); return 1, nil })
	if v != 0 || err == nil {
		t.Errorf("goexit: %d, %v", v, err)
	}
}

func TestOncePerType(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGroup(t.Context())
		defer g.Close()
		release := make(chan struct{})
		go Once(t.Context(), g, "k", func(context.Context) (int, error) { <-release; return 1, nil })
		synctest.Wait()
		if v, err := Once(t.Context(), g, "k", func(context.Context) (string, error) { return "s", nil }); v != "s" || err != nil {
			t.Errorf("got %q, %v", v, err)
		}
		close(release)
	})
}

func TestGroupClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGroup(t.Context())
		ended := false
		got := make(chan error, 1)
		go func() {
			_, err := Once(t.Context(), g, "k", func(ctx context.Context) (int, error) {
				<-ctx.Done()
				ended = true
				return 0, ctx.Err()
			})
			got <- err
		}()
		synctest.Wait()
		g.Close()
		g.Close()
		if !ended {
			t.Error("close did not wait")
		}
		if err := <-got; !errors.Is(err, context.Canceled) {
			t.Errorf("the waiting caller: %v", err)
		}
		if _, err := Once(t.Context(), g, "k", func(context.Context) (int, error) { return 1, nil }); !errors.Is(err, context.Canceled) {
			t.Errorf("after close: %v", err)
		}
	})
}
