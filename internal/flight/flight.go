// Package flight runs each piece of work once for all its callers, and bounds how much work runs at the same time.
//
// It owns the single flight ([Group], [Once]), work whose callers need not wait for its end ([Job]), the semaphore with a queue
// ([Queue]), and the rule for work that nobody waits for: it goes on, gives up its slot to work that has a waiter, and ends
// after [Linger]. The package must not know what the work is: neither Nix, nor images, nor HTTP.
//
//	g := flight.NewGroup(context.Background())
//	defer g.Close()
//	hashing := &flight.Queue{Running: 2}
//	info, err := flight.Once(ctx, g, "layer/"+id, func(ctx context.Context) (Info, error) {
//		release, err := hashing.Acquire(ctx)
//		if err != nil {
//			return Info{}, err
//		}
//		defer release()
//		return hash(ctx, id)
//	})
package flight

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"runtime/debug"
	"sync"
	"time"
)

// Linger is how long work goes on without a waiter, unless its slot is needed.
const Linger = 15 * time.Minute

// returnTime is how long a waiter whose deadline has passed still counts as a waiter: its client is expected to ask again.
const returnTime = 30 * time.Second

var (
	errYielded   = errors.New("gave up its slot to work that has a waiter")
	errAbandoned = errors.New("had no waiter")
)

// Group is a set of running calls with one call per key. It keeps no results. Safe for concurrent use.
type Group struct {
	ctx    context.Context // of the work, not of a caller
	cancel context.CancelFunc

	mu      sync.Mutex // guards what follows
	closed  bool
	calls   map[callKey]*call
	running sync.WaitGroup
}

// callKey includes the type of the result: one key used with two types means two calls, and no conversion can fail.
type callKey struct {
	key    string
	result reflect.Type
}

// NewGroup returns a Group whose work runs on ctx. The caller closes it.
func NewGroup(ctx context.Context) *Group {
	g := &Group{calls: make(map[callKey]*call)}
	g.ctx, g.cancel = context.WithCancel(ctx)
	return g
}

// Close cancels the running work and waits for its end. [Once] gives an error matching [context.Canceled] from then on.
// A second Close does nothing.
func (g *Group) Close() {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	g.cancel()
	g.running.Wait()
}

// Once returns the result of work. Callers that use the same key while work runs share one run. work gets a context of its
// own and outlives its callers; the end of ctx ends the wait of this caller alone. A caller whose deadline passes is
// expected to ask again soon; a cancelled caller is not.
//
// A panic in work becomes an error with its stack. All callers share one result and must not change what it points to.
// Work that would wait for itself gets an error.
func Once[T any](ctx context.Context, g *Group, key string, work func(context.Context) (T, error)) (T, error) {
	k := callKey{key: key, result: reflect.TypeFor[T]()}
	run := func(ctx context.Context) (any, error) { return work(ctx) }
	for {
		c, err := g.join(ctx, k, run)
		if err != nil {
			var zero T
			return zero, fmt.Errorf("begin %.200s: %w", key, err)
		}
		if err := c.await(ctx); err != nil {
			var zero T
			return zero, err
		}
		if Again(ctx, c.err) {
			continue
		}
		v, _ := c.value.(T)
		return v, c.err
	}
}

// join finds or starts the call of a key, and counts the caller as a waiter.
func (g *Group) join(ctx context.Context, k callKey, work func(context.Context) (any, error)) (*call, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	g.mu.Lock()
	c := g.calls[k]
	if c == nil && g.closed {
		g.mu.Unlock()
		return nil, fmt.Errorf("group is closed: %w", context.Canceled)
	}
	by, started := callOf(ctx), c == nil
	switch {
	case started:
		c = newCall(g.ctx, k)
		g.calls[k] = c
	case by != nil && c.waitsFor(by):
		g.mu.Unlock()
		return nil, errors.New("work waits for itself")
	case c.isDone(): // retire has kept it for this caller
		delete(g.calls, k)
	}
	c.enter(by)
	if started {
		g.running.Go(func() { g.run(c, work) })
	}
	g.mu.Unlock()
	c.changed()
	return c, nil
}

// run does the work of a call. Later callers start a new call.
func (g *Group) run(c *call, work func(context.Context) (any, error)) {
	c.err = fmt.Errorf("%.200s: ended without a result", c.key.key) // the error after runtime.Goexit
	defer c.finish()
	defer g.retire(c)
	c.value, c.err = guard(c.ctx, c.key.key, work)
	if cause := context.Cause(c.ctx); c.err != nil && (cause == errYielded || cause == errAbandoned) {
		c.err = fmt.Errorf("%.200s: %w", c.key.key, cause)
	}
}

// retire removes a call that is about to finish. If a caller is expected back, an error is kept for it until it asks or
// returnTime has passed: nothing else may have recorded the error, and the work would start again.
func (g *Group) retire(c *call) {
	failed := c.err != nil && !errors.Is(c.err, errYielded) && !errors.Is(c.err, errAbandoned)
	if failed && c.isExpected() {
		time.AfterFunc(returnTime, func() { g.remove(c) })
		return
	}
	g.remove(c)
}

func (g *Group) remove(c *call) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.calls[c.key] == c {
		delete(g.calls, c.key)
	}
}

// guard makes an error of a panic. It does not wrap the value of the panic: a value that matches fs.ErrNotExist must not
// make something look absent.
func guard(ctx context.Context, key string, work func(context.Context) (any, error)) (v any, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%.200s: panic: %v\n%s", key, r, debug.Stack())
		}
	}()
	return work(ctx)
}

// Guarded returns f with panics made errors, for a goroutine on which nothing else catches them: a panic there would end the
// process.
func Guarded(f func() error) func() error {
	return func() (err error) {
		defer func() {
			if r := recover(); r != nil {
				err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
			}
		}()
		return f()
	}
}

// Progress sets the function that describes the progress of the work of ctx in a few words, such as "3 of 97 layers". text
// must be safe for concurrent use and must not block. Progress does nothing if ctx belongs to no work.
func Progress(ctx context.Context, text func() string) {
	if c := callOf(ctx); c != nil {
		c.mu.Lock()
		c.text = text
		c.mu.Unlock()
	}
}

// waitError is the error of a caller whose context ends before the work. It matches the error of the context.
type waitError struct {
	key  string
	text string
	err  error
}

func (e *waitError) Error() string {
	return fmt.Sprintf("wait for %.200s: %v", e.key, e.err)
}

func (e *waitError) Unwrap() error { return e.err }

// Progress describes how far the work was; "" if it is not known.
func (e *waitError) Progress() string { return e.text }
