package flight

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A job is work that tells when it runs and how it ended, and that ends when it is told to.
type job struct {
	queue   *Queue
	begun   chan struct{} // gets one each time it has its slot
	release chan struct{}
	ended   chan error // gets one each time it ends
}

func newJob(q *Queue) *job {
	return &job{q, make(chan struct{}, 10), make(chan struct{}), make(chan error, 10)}
}

func (j *job) work(ctx context.Context) (int, error) {
	err := j.run(ctx)
	j.ended <- err
	return 1, err
}

func (j *job) run(ctx context.Context) error {
	if j.queue != nil {
		release, err := j.queue.Acquire(ctx)
		if err != nil {
			return err
		}
		defer release()
	}
	j.begun <- struct{}{}
	select {
	case <-j.release:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// ask waits for a job as a client does.
func ask(ctx context.Context, g *Group, key string, j *job) <-chan error {
	got := make(chan error, 1)
	go func() {
		_, err := Once(ctx, g, key, j.work)
		got <- err
	}()
	synctest.Wait()
	return got
}

func running(t *testing.T, j *job, want bool) {
	t.Helper()
	synctest.Wait()
	if got := len(j.begun) > len(j.ended); got != want {
		t.Errorf("running %v, want %v", got, want)
	}
}

func TestWorkNobodyWaitsForLingers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGroup(t.Context())
		defer g.Close()
		j := newJob(nil)
		ctx, leave := context.WithCancel(t.Context())
		ask(ctx, g, "k", j)
		leave()
		time.Sleep(Linger - time.Second)
		running(t, j, true)
		back, leaveAgain := context.WithCancel(t.Context())
		ask(back, g, "k", j) // the time begins anew
		time.Sleep(time.Hour)
		running(t, j, true)
		leaveAgain()
		time.Sleep(Linger + time.Second)
		running(t, j, false)
		if err := <-j.ended; !errors.Is(err, errAbandoned) {
			t.Errorf("ended with %v", err)
		}
	})
}

func TestWhatWaitsForAbandonedWorkEndsWithIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, below := NewGroup(t.Context()), NewGroup(t.Context())
		defer g.Close()
		defer below.Close()
		j := newJob(nil)
		ctx, leave := context.WithCancel(t.Context())
		go Once(ctx, g, "image", func(ctx context.Context) (int, error) { return Once(ctx, below, "layer", j.work) })
		synctest.Wait()
		leave()
		time.Sleep(Linger - time.Second)
		running(t, j, true)
		time.Sleep(2 * time.Second)
		running(t, j, false)
	})
}

func TestUnwantedWorkGivesUpItsSlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGroup(t.Context())
		defer g.Close()
		q := &Queue{Running: 1}
		old, wanted := newJob(q), newJob(q)
		ctx, leave := context.WithCancel(t.Context())
		ask(ctx, g, "old", old)
		got := ask(t.Context(), g, "wanted", wanted)
		running(t, wanted, false) // somebody waits for the other
		leave()
		running(t, old, false)
		running(t, wanted, true)
		close(wanted.release)
		if err := <-got; err != nil {
			t.Error(err)
		}
		if err := <-old.ended; !errors.Is(err, errYielded) {
			t.Errorf("the other ended with %v", err)
		}
	})
}

// Slots are below what is waited for: a layer of an image that nobody waits for gives way, and is begun anew in its turn.
func TestUnwantedWorkBelowGivesUpItsSlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, below := NewGroup(t.Context()), NewGroup(t.Context())
		defer below.Close()
		defer g.Close()
		q := &Queue{Running: 1}
		layer, wanted := newJob(q), newJob(q)
		ctx, leave := context.WithCancel(t.Context())
		image := make(chan error, 1)
		go Once(ctx, g, "image", func(ctx context.Context) (int, error) {
			v, err := Once(ctx, below, "layer", layer.work)
			image <- err
			return v, err
		})
		synctest.Wait()
		leave()
		running(t, layer, true)
		ask(t.Context(), g, "wanted", wanted)
		running(t, layer, false)
		running(t, wanted, true)
		close(wanted.release)
		running(t, layer, true)
		close(layer.release)
		synctest.Wait()
		if err := <-image; err != nil {
			t.Errorf("the image: %v", err)
		}
	})
}

func TestWantedWorkIsFirstInLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGroup(t.Context())
		defer g.Close()
		q := &Queue{Running: 1}
		first, left, stays := newJob(q), newJob(q), newJob(q)
		ask(t.Context(), g, "first", first)
		ctx, leave := context.WithCancel(t.Context())
		ask(ctx, g, "left", left)
		ask(t.Context(), g, "stays", stays)
		leave()
		synctest.Wait()
		close(first.release)
		running(t, stays, true)
		running(t, left, false)
		close(stays.release)
		running(t, left, true) // it has its turn all the same
		close(left.release)
	})
}

func TestDeadlineIsNotLeaving(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGroup(t.Context())
		defer g.Close()
		q := &Queue{Running: 1}
		slow, other := newJob(q), newJob(q)
		hop := func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			got := ask(ctx, g, "slow", slow)
			time.Sleep(time.Minute)
			if err := <-got; !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("after the deadline: %v", err)
			}
		}
		hop()
		ask(t.Context(), g, "other", other)
		time.Sleep(returnTime - time.Second)
		running(t, slow, true)
		hop() // it came back in time
		time.Sleep(returnTime - time.Second)
		running(t, slow, true)
		time.Sleep(2 * time.Second)
		running(t, slow, false)
		running(t, other, true)
		close(other.release)
	})
}

// A caller that comes while the work is about to end, because its slot is wanted, gets the result of another try.
// One who came back and left for good is not expected any more; the others are.
func TestLeavingAfterADeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGroup(t.Context())
		defer g.Close()
		q := &Queue{Running: 1}
		slow, other := newJob(q), newJob(q)
		for range 2 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			ask(ctx, g, "slow", slow)
		}
		time.Sleep(time.Minute)
		ask(t.Context(), g, "other", other)
		comeAndGo := func() {
			ctx, leave := context.WithCancel(t.Context())
			ask(ctx, g, "slow", slow)
			leave()
		}
		comeAndGo()
		running(t, slow, true)
		running(t, other, false)
		comeAndGo()
		running(t, slow, false)
		running(t, other, true)
		close(other.release)
		synctest.Wait()
	})
}

func TestComingBackTooLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGroup(t.Context())
		defer g.Close()
		q := &Queue{Running: 1}
		unwinding := make(chan struct{})
		tries := 0
		work := func(ctx context.Context) (int, error) {
			release, err := q.Acquire(ctx)
			if err != nil {
				return 0, err
			}
			defer release()
			if tries++; tries == 1 {
				<-ctx.Done()
				<-unwinding
				return 0, ctx.Err()
			}
			return tries, nil
		}
		ctx, leave := context.WithCancel(t.Context())
		go Once(ctx, g, "old", work)
		synctest.Wait()
		leave()
		other := newJob(q)
		close(other.release)
		ask(t.Context(), g, "other", other)
		got := make(chan int, 1)
		go func() {
			v, err := Once(t.Context(), g, "old", work)
			if err != nil {
				t.Error(err)
			}
			got <- v
		}()
		synctest.Wait()
		close(unwinding)
		if v := <-got; v != 2 {
			t.Errorf("try %d, want 2", v)
		}
	})
}

func TestQueueIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := &Queue{Running: 1, Waiting: 1}
		release, err := q.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ctx, leave := context.WithCancel(t.Context())
		got := make(chan error, 1)
		go func() {
			_, err := q.Acquire(ctx)
			got <- err
		}()
		synctest.Wait()
		if _, err := q.Acquire(t.Context()); !errors.Is(err, ErrFull) {
			t.Errorf("the third: %v", err)
		}
		leave()
		if err := <-got; !errors.Is(err, context.Canceled) {
			t.Errorf("the second: %v", err)
		}
		release()
		again, err := q.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		again()
		if len(q.holders)+len(q.pending) != 0 {
			t.Errorf("%d turns are left", len(q.holders)+len(q.pending))
		}
	})
}

func TestQueueDropsWhatNobodyWaitsFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGroup(t.Context())
		defer g.Close()
		q := &Queue{Running: 1, Drop: true}
		first, left := newJob(q), newJob(q)
		ask(t.Context(), g, "first", first)
		ctx, leave := context.WithCancel(t.Context())
		ask(ctx, g, "left", left)
		leave()
		synctest.Wait()
		if err := <-left.ended; !errors.Is(err, context.Canceled) {
			t.Errorf("what was in line ended with %v", err)
		}
		again := ask(t.Context(), g, "left", left)
		running(t, first, true)
		close(first.release)
		close(left.release)
		if err := <-again; err != nil || len(left.begun) != 1 {
			t.Errorf("asked for again: %v, begun %d times", err, len(left.begun))
		}
	})
}

func TestProgressIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGroup(t.Context())
		defer g.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := Once(ctx, g, "search", func(ctx context.Context) (int, error) {
			return Once(ctx, g, "image", func(ctx context.Context) (int, error) {
				Progress(ctx, func() string { return "2 of 3" })
				<-ctx.Done()
				return 0, ctx.Err()
			})
		})
		var p interface{ Progress() string }
		if !errors.As(err, &p) || p.Progress() != "2 of 3" || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}

// An error that comes between two hops is told to the caller that comes back, and the work is not begun anew for it.
func TestErrorBetweenHops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGroup(t.Context())
		defer g.Close()
		runs := 0
		broken := errors.New("broken")
		work := func(context.Context) (int, error) {
			runs++
			time.Sleep(time.Minute + time.Second)
			return 0, broken
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := Once(ctx, g, "k", work); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the first: %v", err)
		}
		time.Sleep(2 * time.Second)
		if _, err := Once(t.Context(), g, "k", work); !errors.Is(err, broken) || runs != 1 {
			t.Errorf("the caller that comes back: %v after %d runs", err, runs)
		}
		if _, err := Once(t.Context(), g, "k", work); !errors.Is(err, broken) || runs != 2 {
			t.Errorf("the next: %v after %d runs, an error is told once", err, runs)
		}
		again, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		Once(again, g, "k", work)
		time.Sleep(returnTime + 2*time.Second)
		g.mu.Lock()
		defer g.mu.Unlock()
		if len(g.calls) != 0 {
			t.Errorf("%d calls are kept for nobody", len(g.calls))
		}
	})
}

func TestWorkThatWaitsForItself(t *testing.T) {
	g := NewGroup(t.Context())
	defer g.Close()
	var a, b func(ctx context.Context) (int, error)
	a = func(ctx context.Context) (int, error) { return Once(ctx, g, "b", b) }
	b = func(ctx context.Context) (int, error) { return Once(ctx, g, "a", a) }
	if _, err := Once(t.Context(), g, "a", a); err == nil {
		t.Error("no error")
	}
}

// One slot that is wanted takes one piece of unwanted work away, not all of it.
func TestOneWantedSlotEndsOnePieceOfWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGroup(t.Context())
		defer g.Close()
		q := &Queue{Running: 2}
		one, two, wanted := newJob(q), newJob(q), newJob(q)
		ctx, leave := context.WithCancel(t.Context())
		ask(ctx, g, "one", one)
		ask(ctx, g, "two", two)
		leave()
		synctest.Wait()
		ask(t.Context(), g, "wanted", wanted)
		running(t, wanted, true)
		if n := len(one.ended) + len(two.ended); n != 1 {
			t.Errorf("%d pieces of work ended", n)
		}
		close(wanted.release)
	})
}

// A large request is not overtaken for ever: only small ones go ahead of it, and one above Running counts as Running.
func TestWeights(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := &Queue{Running: 100, Small: 10}
		var mu sync.Mutex // two may be granted at once
		granted := make(map[int]func())
		ask := func(weight int) {
			go func() {
				if release, err := q.AcquireWeight(t.Context(), weight); err == nil {
					mu.Lock()
					defer mu.Unlock()
					granted[weight] = release
				}
			}()
			synctest.Wait()
		}
		for _, weight := range []int{60, 70, 20, 9} {
			ask(weight)
		}
		if free, waiting := q.State(); len(granted) != 2 || granted[60] == nil || granted[9] == nil || free != 31 || waiting != 2 {
			t.Errorf("%d granted, %d free, %d wait", len(granted), free, waiting)
		}
		granted[60]()
		synctest.Wait()
		if granted[70] == nil || granted[20] == nil {
			t.Error("they wait though there is place for both")
		}
		ask(1000)
		for _, weight := range []int{70, 20, 9} {
			granted[weight]()
		}
		synctest.Wait()
		if free, waiting := q.State(); granted[1000] == nil || free != 0 || waiting != 0 {
			t.Errorf("%d free, %d wait", free, waiting)
		}
		granted[1000]()
	})
}
