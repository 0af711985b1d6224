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
	// Running is the number of slots, or what the weights of requests are counted in, such as bytes.
	Running int
	// Small is the weight up to which a request does not wait behind larger ones that wait for more than is free.
	Small int
	// Waiting bounds the requests that wait for a slot; 0 is no bound.
	Waiting int
	// Drop ends work that waits for a slot as soon as it has no waiter: it has done nothing yet. If no more than Keep requests
	// wait, it lets such work wait.
	Drop bool
	Keep int

	mu      sync.Mutex
	holders []*request
	pending []*request
}

// request is a request for a slot, until it is released.
type request struct {
	weight   int
	call     *call         // nil for a caller outside of any work
	granted  chan struct{} // closed when it has a slot
	yielding bool          // its work was told to end
	unwatch  func()
}

// Acquire waits for a slot. The caller calls release once. The errors are [ErrFull] and the error of ctx.
func (q *Queue) Acquire(ctx context.Context) (release func(), err error) {
	return q.AcquireWeight(ctx, 1)
}

// AcquireWeight is Acquire for several slots at once; a weight above Running counts as Running.
func (q *Queue) AcquireWeight(ctx context.Context, weight int) (release func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	r := &request{weight: min(weight, q.Running), call: callOf(ctx), granted: make(chan struct{}), unwatch: func() {}}
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
	if q.Waiting > 0 && q.free() < r.weight && len(q.pending) >= q.Waiting {
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
	for i := q.next(); i >= 0; i = q.next() {
		r := q.pending[i]
		q.pending = slices.Delete(q.pending, i, i+1)
		q.holders = append(q.holders, r)
		close(r.granted)
	}
	if q.Drop && len(q.pending) > q.Keep {
		q.pending = slices.DeleteFunc(q.pending, (*request).drop)
	}
	free, idle := q.Running, []*request(nil) // idle: without a waiter; yielding work counts as gone
	for _, h := range q.holders {
		if h.yielding {
			continue
		}
		if free -= h.weight; !h.awaited() {
			idle = append(idle, h)
		}
	}
	for _, r := range q.pending {
		if !r.awaited() {
			continue
		}
		for ; free < r.weight && len(idle) > 0; idle = idle[1:] {
			idle[0].yielding = true
			free += idle[0].weight
			idle[0].call.cancel(errYielded)
		}
		if free -= r.weight; free < 0 {
			return
		}
	}
}

// State returns how many slots are free, and how many requests wait.
func (q *Queue) State() (free, waiting int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.free(), len(q.pending)
}

func (q *Queue) free() int {
	n := q.Running
	for _, h := range q.holders {
		n -= h.weight
	}
	return n
}

// next returns the index of the pending request that gets its slots now; -1 if there is none.
func (q *Queue) next() int {
	if len(q.pending) == 0 {
		return -1
	}
	free := q.free()
	if i := max(0, slices.IndexFunc(q.pending, (*request).awaited)); q.pending[i].weight <= free {
		return i
	}
	return slices.IndexFunc(q.pending, func(r *request) bool { return r.weight <= min(free, q.Small) })
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
