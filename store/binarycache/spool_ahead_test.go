package binarycache

import (
	"context"
	"fmt"
	"io"
	"iter"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/nar"
)

// line is archives of one size that wait for a word each before they are fetched, and say when they are asked for.
type line struct {
	nars []*testNAR
	pass []chan struct{}

	mu    sync.Mutex
	begun []int // in order
}

func makeLine(count, size int) *line {
	l := new(line)
	for i := range count {
		n := makeNAR(fmt.Sprint(i), size)
		_, pass := n.gated()
		fill := n.fill
		n.fill = func(ctx context.Context, w io.Writer) error {
			l.mu.Lock()
			l.begun = append(l.begun, i)
			l.mu.Unlock()
			return fill(ctx, w)
		}
		l.nars = append(l.nars, n)
		l.pass = append(l.pass, pass)
	}
	return l
}

func (l *line) all() iter.Seq[wanted] {
	return func(yield func(wanted) bool) {
		for _, n := range l.nars {
			if !yield(n.wanted) {
				return
			}
		}
	}
}

// want checks which ones were begun, once nothing moves any more.
func (l *line) want(t *testing.T, want ...int) {
	t.Helper()
	synctest.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	got := slices.Sorted(slices.Values(l.begun))
	if !slices.Equal(got, want) {
		t.Errorf("begun: %v, want %v", got, want)
	}
}

func (l *line) land(i ...int) {
	for _, i := range i {
		close(l.pass[i])
	}
}

// The window is half the spool: it moves when what was fetched ahead is used, not when it is there.
func TestPrefetchWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openSpool(t, SpoolOptions{Size: 8 * 1200})
		l := makeLine(8, 1000) // of 1120 bytes
		s.prefetch(t.Context(), l.all())
		l.want(t, 0, 1, 2, 3)
		l.land(0, 1, 2, 3)
		l.want(t, 0, 1, 2, 3)
		use(t, s, l.nars[1])
		l.want(t, 0, 1, 2, 3, 4)
		use(t, s, l.nars[1])
		use(t, s, l.nars[0])
		l.want(t, 0, 1, 2, 3, 4, 5)
		l.land(4, 5, 6, 7)
		for _, n := range l.nars[2:] {
			use(t, s, n)
		}
		synctest.Wait()
		if s.ahead.plans != 0 {
			t.Error("all was used, and the plan goes on")
		}
		for _, n := range l.nars {
			n.fetched(t, 1)
		}
		closeSpool(t, s)
	})
}

// An archive that a caller fetches while the plan waits for space is passed over: nobody would take it out of the window.
func TestPrefetchIsOvertaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openSpool(t, SpoolOptions{Size: 8 * 1200})
		l := makeLine(5, 1000)
		s.prefetch(t.Context(), l.all())
		l.want(t, 0, 1, 2, 3)
		l.land(0, 1, 2, 3, 4)
		use(t, s, l.nars[4])
		for _, n := range l.nars[:4] {
			use(t, s, n)
		}
		synctest.Wait()
		if s.ahead.plans != 0 {
			t.Error("all was used, and the plan goes on")
		}
		l.nars[4].fetched(t, 1)
		closeSpool(t, s)
	})
}

// Somebody who waits for one that is under way takes it out of the window; one who fetches another is not kept waiting.
func TestPrefetchGivesWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openSpool(t, SpoolOptions{Size: 1 << 30})
		l := makeLine(20, 100)
		for _, n := range l.nars {
			n.window = nar.MaxWindow / 2
		}
		s.prefetch(t.Context(), l.all())
		l.want(t, 0, 1, 2, 3, 4, 5) // what is left is for who waits
		urgent, second := makeNAR("urgent", 100), makeNAR("second", 100)
		urgent.window, second.window = nar.MaxWindow, nar.MaxWindow
		entered, pass := urgent.gated()
		var wg sync.WaitGroup
		wg.Go(func() { use(t, s, urgent) })
		<-entered
		entered2, pass2 := second.gated()
		wg.Go(func() { use(t, s, second) })
		synctest.Wait()
		l.land(0, 1) // their memory is for the one that waits
		<-entered2
		l.want(t, 0, 1, 2, 3, 4, 5)
		close(pass)
		close(pass2)
		wg.Wait()
		l.want(t, 0, 1, 2, 3, 4, 5, 6, 7)
		s.Close()
		closeSpool(t, s)
	})
}

// What was fetched ahead stays until it is used or the plan ends, whatever else comes.
func TestPrefetchKeeps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openSpool(t, SpoolOptions{Size: 5000})
		l := makeLine(2, 1000)
		l.land(0, 1)
		ctx, cancel := context.WithCancel(t.Context())
		s.prefetch(ctx, l.all())
		l.want(t, 0, 1)
		for i := range 10 {
			use(t, s, makeNAR(fmt.Sprint("x", i), 1000))
		}
		use(t, s, l.nars[0])
		l.nars[0].fetched(t, 1)
		cancel()
		synctest.Wait()
		for i := range 10 {
			use(t, s, makeNAR(fmt.Sprint("y", i), 1000))
		}
		use(t, s, l.nars[1])
		l.nars[1].fetched(t, 2)
		closeSpool(t, s)
	})
}

// What is there, and what is too large, is passed over; what fails leaves the window.
func TestPrefetchPassesOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openSpool(t, SpoolOptions{Size: 4000})
		there, large, bad, last := makeNAR("there", 1000), makeNAR("large", 2001), makeNAR("bad", 1500), makeNAR("last", 1500)
		bad.fill = func(context.Context, io.Writer) error { return ErrCorrupt }
		use(t, s, there)
		all := []wanted{there.wanted, large.wanted, bad.wanted, last.wanted}
		s.prefetch(t.Context(), slices.Values(all))
		synctest.Wait()
		there.fetched(t, 1)
		large.fetched(t, 0)
		last.fetched(t, 1)
		use(t, s, last)
		last.fetched(t, 1)
		closeSpool(t, s)
	})
}

// ctx ends what was not begun, Close all.
func TestPrefetchEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openSpool(t, SpoolOptions{Size: 5000})
		l := makeLine(5, 1000)
		ctx, cancel := context.WithCancel(t.Context())
		s.prefetch(ctx, l.all())
		l.want(t, 0, 1)
		cancel()
		synctest.Wait()
		l.land(0)
		l.want(t, 0, 1)
		use(t, s, l.nars[0])
		l.nars[0].fetched(t, 1)
		for range maxPlans + 5 {
			s.prefetch(t.Context(), l.all())
		}
		l.want(t, 0, 1, 2, 3) // the 1 of the plan that ended is in no window
		if s.ahead.plans != maxPlans {
			t.Errorf("%d plans", s.ahead.plans)
		}
		s.Close()
		s.prefetch(t.Context(), l.all())
		l.want(t, 0, 1, 2, 3) // the 1 of the plan that ended is in no window
		closeSpool(t, s)
	})
}

// A cache that cannot be asked is not asked for all the rest.
func TestPrefetchUnavailable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openSpool(t, SpoolOptions{Size: 2000})
		first, second := makeNAR("a", 800), makeNAR("b", 800) // one has room
		first.fill = func(context.Context, io.Writer) error { return fmt.Errorf("x: %w", store.ErrUnavailable) }
		s.prefetch(t.Context(), slices.Values([]wanted{first.wanted, second.wanted}))
		synctest.Wait()
		second.fetched(t, 0)
		if s.ahead.plans != 0 {
			t.Error("the plan goes on")
		}
		closeSpool(t, s)
	})
}

// Nor is more fetched ahead than so many archives; one that is damaged meanwhile leaves the window.
func TestPrefetchCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openSpool(t, SpoolOptions{})
		l := makeLine(maxAhead+10, 10)
		for i := range l.pass {
			l.land(i)
		}
		s.prefetch(t.Context(), l.all())
		synctest.Wait()
		if got := len(l.begun); got != maxAhead {
			t.Errorf("%d are begun", got)
		}
		overwrite(t, s.files.Path(narName(l.nars[maxAhead-1].id)), 1)
		for _, n := range l.nars {
			use(t, s, n)
		}
		synctest.Wait()
		l.nars[maxAhead-1].fetched(t, 2)
		closeSpool(t, s)
	})
}
