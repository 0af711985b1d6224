package flight

import (
	"context"
	"errors"
	"slices"
	"sync"
)

// ErrFull is the error of a [Queue] in which too many requests wait.
var ErrFull = errors.New("too many are waiting")

// Queue is a semaphore: it gives a bounded number of slots in the order of the requests, to awaited work first. If all slots
// are taken and awaited work needs one, work without a waiter gives up its slot: its context ends. Its waiters, if any
// come later, start it again.
//
// Set the fields before the first use. Safe for concurrent use; it must not be copied.
type Queue struct {
	// Running is the number of slots.
	Running int
	// Waiting bounds the requests that wait for a slot; 0 is no bound.
	Waiting int
	// Drop ends work that waits for a slot as soon as it has no waiter: it has done nothing yet.
	Drop bool

	mu      sync.Mutex
	holders []*request
	pending []*request
}

// request is a request for a slot, until it is released.
type request struct {
	call     *call         // nil for a caller outside of any work
	granted  chan struct{} // closed when it has a slot
	yielding bool          // its work was told to end
	unwatch  func()
}

// Acquire waits for a slot. The caller calls release once. The errors are [ErrFull] and the error of ctx.
func (q *Queue) Acquire(ctx context.Context) (release func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	r := &request{call: callOf(ctx), granted: make(chan struct{}), unwatch: func() {}}
	if err := q.join(r); err != nil {
		return nil, err
	}
	if r.call != nil {
		r.unwatch = r.call.watch(q.review)
	}
	q.review()
	select {
	case <-r.granted:
		return func() { q.leave(r) }, nil
	case <-ctx.Done():
		q.leave(r)
		return nil, ctx.Err()
	}
}

func (q *Queue) join(r *request) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	free := q.Running - len(q.holders)
	if q.Waiting > 0 && free <= 0 && len(q.pending) >= q.Waiting {
		return ErrFull
	}
	q.pending = append(q.pending, r)
	return nil
}

func (q *Queue) leave(r *request) {
	r.unwatch()
	q.mu.Lock()
	is := func(other *request) bool { return other == r }
	q.holders, q.pending = slices.DeleteFunc(q.holders, is), slices.DeleteFunc(q.pending, is)
	q.mu.Unlock()
	q.review()
}

// review grants free slots, and takes slots from work without a waiter if awaited work needs them.
func (q *Queue) review() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.Drop {
		q.pending = slices.DeleteFunc(q.pending, (*request).drop)
	}
	for len(q.pending) > 0 && len(q.holders) < q.Running {
		i := max(0, slices.IndexFunc(q.pending, (*request).awaited))
		r := q.pending[i]
		q.pending = slices.Delete(q.pending, i, i+1)
		q.holders = append(q.holders, r)
		close(r.granted)
	}
	needed := 0 // slots that awaited work waits for, and that no yielding work is about to free
	for _, r := range q.pending {
		if r.awaited() {
			needed++
		}
	}
	for _, h := range q.holders {
		if h.yielding {
			needed--
		}
	}
	for _, h := range q.holders {
		if needed > 0 && !h.yielding && !h.awaited() {
			h.yielding = true
			needed--
			h.call.cancel(errYielded)
		}
	}
}

func (r *request) awaited() bool { return r.call.awaited() }

// drop ends work without a waiter.
func (r *request) drop() bool {
	if r.awaited() {
		return false
	}
	r.call.cancel(errAbandoned)
	return true
}
