package flight

import (
	"context"
	"errors"
	"slices"
	"sync"
)

// ErrFull is the error of a [Queue] in which too many wait.
var ErrFull = errors.New("too many are waiting")

// Queue gives a bounded number of slots, in the order in which they were asked for, but to work that somebody waits for
// first. If all slots are taken and one is wanted by such work, work that nobody waits for gives up its own: its context
// ends. Work that waits for what gave up its slot asks again, and waits for another turn.
//
// Set the fields before the first use. Safe for concurrent use; it must not be copied.
type Queue struct {
	// Running is how many have a slot at the same time.
	Running int
	// Waiting is how many may wait for one; 0 is any number.
	Waiting int
	// Drop ends work that waits for a slot when nobody waits for the work any more: it has done nothing yet.
	Drop bool

	mu      sync.Mutex
	holders []*turn
	line    []*turn
}

// turn is one who has a slot, or waits for it.
type turn struct {
	call     *call         // nil: no work, but a caller
	ready    chan struct{} // closed when it has a slot
	yielding bool          // it was told to give the slot up
	unwatch  func()
}

// Acquire waits for a slot, which the caller gives back by release, once. The errors are that of ctx, and [ErrFull].
func (q *Queue) Acquire(ctx context.Context) (release func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	t := &turn{call: callOf(ctx), ready: make(chan struct{}), unwatch: func() {}}
	if err := q.join(t); err != nil {
		return nil, err
	}
	if t.call != nil {
		t.unwatch = t.call.watch(q.review)
	}
	q.review()
	select {
	case <-t.ready:
		return func() { q.leave(t) }, nil
	case <-ctx.Done():
		q.leave(t)
		return nil, ctx.Err()
	}
}

func (q *Queue) join(t *turn) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	free := q.Running - len(q.holders)
	if q.Waiting > 0 && free <= 0 && len(q.line) >= q.Waiting {
		return ErrFull
	}
	q.line = append(q.line, t)
	return nil
}

func (q *Queue) leave(t *turn) {
	t.unwatch()
	q.mu.Lock()
	is := func(other *turn) bool { return other == t }
	q.holders, q.line = slices.DeleteFunc(q.holders, is), slices.DeleteFunc(q.line, is)
	q.mu.Unlock()
	q.review()
}

// review gives away what is free, and takes back what is wanted more.
func (q *Queue) review() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.Drop {
		q.line = slices.DeleteFunc(q.line, (*turn).drop)
	}
	for len(q.line) > 0 && len(q.holders) < q.Running {
		i := max(0, slices.IndexFunc(q.line, (*turn).awaited))
		t := q.line[i]
		q.line = slices.Delete(q.line, i, i+1)
		q.holders = append(q.holders, t)
		close(t.ready)
	}
	for _, h := range q.idle() {
		if q.ending() >= q.wanted() {
			return
		}
		h.yielding = true
		h.call.cancel(errYielded)
	}
}

func (t *turn) awaited() bool { return t.call.awaited() }

// drop ends what nobody waits for.
func (t *turn) drop() bool {
	if t.awaited() {
		return false
	}
	t.call.cancel(errAbandoned)
	return true
}

// idle are the slots that nobody waits for.
func (q *Queue) idle() (all []*turn) {
	for _, h := range q.holders {
		if len(q.line) > 0 && !h.yielding && !h.awaited() {
			all = append(all, h)
		}
	}
	return all
}

// ending is how many slots are about to be free.
func (q *Queue) ending() (n int) {
	for _, h := range q.holders {
		if h.yielding {
			n++
		}
	}
	return n
}

// wanted is how many of those in line do work that somebody waits for.
func (q *Queue) wanted() (n int) {
	for _, t := range q.line {
		if t.awaited() {
			n++
		}
	}
	return n
}
