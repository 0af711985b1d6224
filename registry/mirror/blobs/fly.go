package blobs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime/debug"
	"time"
)

// returning is for how long one is expected to ask again whose deadline passed. A flight goes on as if such a one waited.
const returning = 30 * time.Second

// errAbandoned ends a flight that waited until nobody wanted it any more. It is no answer to anybody.
var errAbandoned = fmt.Errorf("%w: nobody waits", errAgain)

// find opens what is kept, or joins the flight that brings it, or starts one. Without fetch, what is not kept is an
// error matching [fs.ErrNotExist].
func (o *Origin) find(k key, a ask, fetch Fetch) (find, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return find{}, errClosed
	}
	if err := a.failed(); err != nil {
		return find{}, err
	}
	f := o.flights[flightKey{k, nil}]
	if f == nil && fetch != nil {
		f = o.flights[flightKey{k, o}]
	}
	if f != nil {
		if !f.cameBack() {
			f.refs++
		}
		return find{flight: f}, nil
	}
	if e := o.index.kept[k]; e != nil {
		if found, err := o.findKept(e, a); err != nil || found != (find{}) {
			return found, err
		}
	}
	if fetch == nil {
		return find{}, fmt.Errorf("blob %s is not kept: %w", k, fs.ErrNotExist)
	}
	f = &flight{key: k, from: o, ask: a, size: -1}
	o.start(f, o.fetches, func(ctx context.Context, f *flight) error { return o.download(ctx, f, fetch) })
	return find{flight: f}, nil
}

// findKept opens a kept blob, or starts to read it through. It finds nothing if the blob turns out to be lost.
func (c *Cache) findKept(e *entry, a ask) (find, error) {
	file, err := c.index.open(e)
	if err != nil {
		return find{}, fmt.Errorf("blob %s: %w", e.key, ownError(err))
	}
	if file == nil {
		return find{}, nil
	}
	if e.verified() {
		c.index.use(e, file)
		return find{file: file, proof: e.seen, size: e.size}, nil
	}
	slots := c.checks
	if e.size <= smallSize {
		slots = c.small
	}
	f := &flight{key: e.key, ask: a, entry: e, file: file, size: e.size}
	c.start(f, slots, c.readThrough)
	return find{flight: f}, nil
}

// start lets f run, once there is a slot for it. The caller holds a reference to f, and the lock.
func (c *Cache) start(f *flight, slots *room, run func(context.Context, *flight) error) {
	ctx, cancel := context.WithCancel(c.ctx)
	f.cancel, f.queued, f.refs = cancel, true, 2
	c.flights[flightKey{f.key, f.from}] = f
	c.running.Go(func() {
		err := fmt.Errorf("blob %s: ended without a result", f.key) // stays where runtime.Goexit is called
		defer func() { c.land(f, err) }()
		err = c.queue(ctx, f, slots, run)
		if err != nil && c.ctx.Err() != nil {
			err = errClosed // the callers' own contexts have not ended
		}
	})
}

// guard makes an error of a panic. What a panic carries is never wrapped: a stray value matching fs.ErrNotExist must
// not be taken for the origin's answer.
func (f *flight) guard(run func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("blob %s: panic: %v\n%s", f.key, r, debug.Stack())
		}
	}()
	return run()
}

// land ends f. Who comes later starts anew; who has joined goes on reading if f is verified.
func (c *Cache) land(f *flight, err error) {
	f.cancel()
	c.mu.Lock()
	c.detach(f)
	for f.cameBack() { // or rather, nobody can any more
		f.refs--
	}
	c.setFree(f)
	if f.yielded && err != nil {
		err = errAbandoned
	}
	f.tell(func() { f.ended, f.err = true, err }) // at once, see ask.failed
	c.mu.Unlock()
	c.release(f)
}

// detach lets nobody join f any more.
func (c *Cache) detach(f *flight) {
	if k := (flightKey{f.key, f.from}); c.flights[k] == f {
		delete(c.flights, k)
	}
}

// release is for a caller who is done with f. One that nobody waits for any more is ended if it has not begun, or if
// others wait for its place.
func (c *Cache) release(f *flight) {
	c.leave(f)
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.queued && f.refs == 1 {
		c.detach(f)
		f.cancel()
	}
	c.yield(f)
}

// part is release for one who leaves with the error of ctx. Whose deadline has passed keeps the place for a while, to come
// back to it.
func (c *Cache) part(ctx context.Context, f *flight) {
	if ctx.Err() == nil || !errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
		c.release(f)
		return
	}
	c.mu.Lock()
	landed := c.flights[flightKey{f.key, f.from}] != f
	if !landed {
		f.expected = append(f.expected, time.AfterFunc(returning, func() { c.release(f) }))
	}
	c.mu.Unlock()
	if landed {
		c.release(f)
	}
}

// cameBack gives the place of one who is expected back to the caller, if there is one. The Cache's lock is held.
func (f *flight) cameBack() bool {
	for len(f.expected) > 0 {
		t := f.expected[0]
		f.expected = f.expected[1:]
		if t.Stop() {
			return true
		}
	}
	return false
}

// leave is release for a Blob that was forgotten. It ends nothing, for the garbage collector calls it: f is seen to be
// alone by the next who waits for its place.
func (c *Cache) leave(f *flight) {
	c.mu.Lock()
	f.refs--
	last := f.refs == 0
	c.mu.Unlock()
	if last && f.file != nil {
		f.file.Close()
	}
}
