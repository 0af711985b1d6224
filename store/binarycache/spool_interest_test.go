package binarycache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nixreg/nixreg/internal/flight"
)

// hangs makes n never come to its end; a value in ended is the cause of its context.
func (n *testNAR) hangs() (ended chan error) {
	ended = make(chan error, 100)
	n.fill = func(ctx context.Context, w io.Writer) error {
		n.count.Add(1)
		<-ctx.Done()
		ended <- context.Cause(ctx)
		return ctx.Err()
	}
	return ended
}

// fillSlots has so many archives fetched that none comes to its end, each waited for with wait.
func fillSlots(t *testing.T, s *Spool, wait func(n *testNAR)) (all []*testNAR, ended chan error) {
	t.Helper()
	for i := range maxFetching {
		n := makeNAR(fmt.Sprint("hangs", i), 10)
		ends := n.hangs()
		if i == 0 {
			ended = ends
		}
		all = append(all, n)
		go wait(n)
		synctest.Wait()
		n.fetched(t, 1)
	}
	return all, ended
}

// running is how many archives are fetched.
func running(s *Spool) int {
	free, _ := s.fetching.State()
	return s.fetching.Running - free
}

// usedNow asks for n, and checks whether it comes without any time passing.
func usedNow(t *testing.T, s *Spool, n *testNAR, want bool) {
	t.Helper()
	synctest.Wait()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	got := make(chan error, 1)
	go func() {
		a, err := s.acquire(ctx, n.wanted)
		if err == nil {
			a.file.Close()
		}
		got <- err
	}()
	synctest.Wait()
	select {
	case err := <-got:
		if err != nil || !want {
			t.Errorf("%s: %v, and nobody was to give way: %v", n.id.path.Name(), err, !want)
		}
	default:
		if want {
			t.Errorf("%s waits behind what nobody waits for", n.id.path.Name())
		}
		cancel()
		<-got
	}
}

// Fetches that all have left give up their slots to one that somebody waits for: whether a client left, or work that
// nobody waits for any more.
func TestSpoolGivesWay(t *testing.T) {
	for name, wait := range map[string]func(context.Context, *Spool, *flight.Group, *testNAR){
		"clients": func(ctx context.Context, s *Spool, _ *flight.Group, n *testNAR) { s.acquire(ctx, n.wanted) },
		"work": func(ctx context.Context, s *Spool, g *flight.Group, n *testNAR) {
			flight.Once(ctx, g, n.id.path.Name(), func(ctx context.Context) (*archive, error) { return s.acquire(ctx, n.wanted) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, g := openSpool(t, SpoolOptions{}), flight.NewGroup(t.Context())
				defer g.Close()
				ctx, leave := context.WithCancel(t.Context())
				_, ended := fillSlots(t, s, func(n *testNAR) { wait(ctx, s, g, n) })
				usedNow(t, s, makeNAR("early", 10), false)
				leave()
				usedNow(t, s, makeNAR("good", 10), true)
				select {
				case err := <-ended:
					if errors.Is(err, context.Canceled) || err == nil {
						t.Errorf("the oldest ended with %v", err)
					}
				default:
					t.Error("the oldest has not given up its slot")
				}
				closeSpool(t, s)
			})
		})
	}
}

// One whose time is over is about to ask again, and its fetch goes on meanwhile.
func TestSpoolHopIsNotLeaving(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openSpool(t, SpoolOptions{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		all, _ := fillSlots(t, s, func(n *testNAR) { s.acquire(ctx, n.wanted) })
		time.Sleep(time.Minute)
		usedNow(t, s, makeNAR("good", 10), false)
		for _, n := range all {
			n.fetched(t, 1)
		}
		time.Sleep(time.Minute) // nobody came
		usedNow(t, s, makeNAR("good", 10), true)
		closeSpool(t, s)
	})
}

// Work that had to give way, and that somebody wants again, is begun anew in its turn. What nobody wants ends.
func TestSpoolBeginsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, g := openSpool(t, SpoolOptions{}), flight.NewGroup(t.Context())
		defer g.Close()
		ctx, leave := context.WithCancel(t.Context())
		ask := func(ctx context.Context, n *testNAR) {
			flight.Once(ctx, g, n.id.path.Name(), func(ctx context.Context) (*archive, error) { return s.acquire(ctx, n.wanted) })
		}
		all, ended := fillSlots(t, s, func(n *testNAR) { ask(ctx, n) })
		leave()
		usedNow(t, s, makeNAR("good", 10), true)
		synctest.Wait()
		all[0].fetched(t, 2) // the slot is free again, and its work goes on
		back, leaveAgain := context.WithCancel(t.Context())
		go ask(back, all[0])
		<-ended
		time.Sleep(time.Hour)
		synctest.Wait()
		all[0].fetched(t, 2)
		if running(s) != 1 {
			t.Errorf("%d are fetched an hour after all but one left", running(s))
		}
		leaveAgain()
		time.Sleep(time.Hour)
		synctest.Wait()
		if running(s) != 0 {
			t.Errorf("%d are fetched an hour after all left", running(s))
		}
		closeSpool(t, s)
	})
}

// One that needs much memory gets it from as many as it takes.
func TestSpoolGivesWayWithMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openSpool(t, SpoolOptions{})
		ctx, leave := context.WithCancel(t.Context())
		for i := range 8 {
			n := makeNAR(fmt.Sprint("hangs", i), 10)
			n.hangs()
			n.window = maxWindows / 8
			go s.acquire(ctx, n.wanted)
		}
		synctest.Wait()
		leave()
		synctest.Wait()
		n := makeNAR("good", 10)
		entered, pass := n.gated()
		n.window = maxWindows / 4
		go s.acquire(t.Context(), n.wanted)
		synctest.Wait()
		if len(entered) != 1 || running(s) != 7 {
			t.Errorf("%d begun; %d run, want 6 and the new one", len(entered), running(s))
		}
		close(pass)
		synctest.Wait()
		closeSpool(t, s)
	})
}

// What is fetched ahead of work is as wanted as the work is.
func TestSpoolAheadIsWanted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, g := openSpool(t, SpoolOptions{Size: 1 << 20}), flight.NewGroup(t.Context())
		defer g.Close()
		l := makeLine(maxFetching-1, 10)
		ctx, leave := context.WithCancel(t.Context())
		go flight.Once(ctx, g, "image", func(ctx context.Context) (int, error) {
			s.prefetch(ctx, l.all())
			<-ctx.Done()
			return 0, ctx.Err()
		})
		synctest.Wait()
		last := makeNAR("last", 10)
		last.hangs()
		go s.acquire(t.Context(), last.wanted)
		synctest.Wait()
		last.fetched(t, 1)
		usedNow(t, s, makeNAR("early", 10), false)
		leave()
		usedNow(t, s, makeNAR("good", 10), true)
		g.Close()
		closeSpool(t, s)
	})
}

// Callers that give up do not leave more than so many archives to be fetched for nobody.
func TestSpoolQueueBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openSpool(t, SpoolOptions{})
		s.fetching.Running = 1
		hangs := makeNAR("hangs", 10)
		hangs.hangs()
		go s.acquire(t.Context(), hangs.wanted)
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for i := range maxQueued + 50 {
			n := makeNAR(fmt.Sprint(i), 10)
			wg.Go(func() { s.acquire(ctx, n.wanted) })
		}
		synctest.Wait()
		cancel()
		wg.Wait()
		synctest.Wait()
		if _, waiting := s.fetching.State(); waiting > maxQueued {
			t.Errorf("%d are queued", waiting)
		}
		closeSpool(t, s)
	})
}
