package blobs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime/debug"
)

// errAbandoned ends a flight that waited for a slot until nobody wanted it any more.
var errAbandoned = errors.New("nobody waits")

// A find is where a blob is: in a file that is verified, which the finder closes, or in a flight, which the finder
// releases.
type find struct {
	file   *os.File
	size   int64 // of file
	flight *flight
}

// find opens what is kept, or joins the flight that brings it, or starts one. Without fetch, what is not kept is an
// error matching [fs.ErrNotExist].
func (c *Cache) find(k key, a ask, fetch Fetch) (find, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return find{}, errClosed
	}
	if f := c.flights[k]; f != nil && (f.check() || fetch != nil) {
		f.refs++
		return find{flight: f}, nil
	}
	if e := c.index.kept[k]; e != nil {
		file := c.index.open(e)
		switch {
		case file == nil: // not kept any more
		case e.verified():
			c.index.use(e, file)
			return find{file: file, size: e.size}, nil
		default:
			f := &flight{key: k, ask: a, entry: e, file: file, size: e.size}
			c.start(f, c.checks, c.readThrough)
			return find{flight: f}, nil
		}
	}
	if fetch == nil {
		return find{}, fmt.Errorf("blob %s is not kept: %w", k, fs.ErrNotExist)
	}
	f := &flight{key: k, ask: a, size: -1}
	c.start(f, c.fetches, func(ctx context.Context, f *flight) error { return c.download(ctx, f, fetch) })
	return find{flight: f}, nil
}

// start lets f run, once there is a slot for it. The caller holds a reference to f, and the lock.
func (c *Cache) start(f *flight, slots chan struct{}, run func(context.Context, *flight) error) {
	ctx, cancel := context.WithCancel(c.ctx)
	f.cancel, f.queued, f.refs = cancel, true, 2
	c.flights[f.key] = f
	c.running.Go(func() {
		err := fmt.Errorf("blob %s: ended without a result", f.key) // stays where runtime.Goexit is called
		defer func() { c.land(f, err) }()
		err = c.queue(ctx, f, slots, run)
		if err != nil && c.ctx.Err() != nil {
			err = errClosed // the callers' own contexts have not ended
		}
	})
}

// queue runs f when there is a slot for it.
func (c *Cache) queue(ctx context.Context, f *flight, slots chan struct{}, run func(context.Context, *flight) error) error {
	select {
	case slots <- struct{}{}:
		defer func() { <-slots }()
	case <-ctx.Done():
		return errAbandoned
	}
	c.mu.Lock()
	f.queued = false
	gone := ctx.Err() != nil
	c.mu.Unlock()
	if gone {
		return errAbandoned
	}
	return f.guard(func() error { return run(ctx, f) })
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
	c.setFree(f)
	c.mu.Unlock()
	f.tell(func() { f.ended, f.err = true, err })
	c.release(f)
}

// detach lets nobody join f any more.
func (c *Cache) detach(f *flight) {
	if c.flights[f.key] == f {
		delete(c.flights, f.key)
	}
}

// release is for a caller who is done with f. One that nobody waits for any more is ended if it has not begun.
func (c *Cache) release(f *flight) {
	c.mu.Lock()
	f.refs--
	last := f.refs == 0
	if f.queued && f.refs == 1 {
		c.detach(f)
		f.cancel()
	}
	c.mu.Unlock()
	if last && f.file != nil {
		f.file.Close()
	}
}
