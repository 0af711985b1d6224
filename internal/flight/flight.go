// Package flight runs work once for all who want it, and decides whose turn it is.
//
// It owns single flights ([Group], [Once]), bounded queues ([Queue]), the interest in work that runs elsewhere ([Job]), and
// the one rule that all follow: work goes on when its last waiter leaves, gives up its slot to work that somebody waits for,
// and ends when nobody wanted it for a long time. It must know nothing of what the work is: neither Nix, nor images, nor HTTP.
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

// Linger is for how long work goes on that nobody waits for, unless its slot is wanted.
const Linger = 15 * time.Minute

// returning is for how long a waiter whose deadline passed is expected back, and counts as if it waited still.
const returning = 30 * time.Second

var (
	errYielded   = errors.New("gave up its slot to work that somebody waits for")
	errAbandoned = errors.New("nobody waited for it")
)

// Group knows which work is running, so that each piece runs once however many ask for it at the same time. It remembers
// nothing of what is finished. Safe for concurrent use.
type Group struct {
	ctx    context.Context // the work's, not any caller's
	cancel context.CancelFunc

	mu      sync.Mutex // guards what follows
	closed  bool
	calls   map[callKey]*call
	running sync.WaitGroup
}

// callKey has the result's type, so that a key used for two types is two pieces of work and no wrong conversion.
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

// Close cancels the running work and waits for its end. After that, [Once] gives an error matching [context.Canceled].
// Closing again does nothing more.
func (g *Group) Close() {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	g.cancel()
	g.running.Wait()
}

// Once returns what work returns under key, and runs it once for all who ask while it runs. work gets a context of its
// own, so it outlives a caller that leaves; the end of ctx ends the wait of this caller alone. A caller whose deadline
// passes is expected to ask again soon; one that is cancelled is not.
//
// A panic in work is an error, with its stack, to every caller. All callers share one result: they must not change what it
// points to. Work that would wait for itself gets an error.
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

// join finds the call of a key, or starts it, and counts the caller among its waiters.
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
	case c.isDone(): // it was kept for a caller that comes back, see leaveBehind
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

// run does the work of a call. Callers that come after its end start anew.
func (g *Group) run(c *call, work func(context.Context) (any, error)) {
	c.err = fmt.Errorf("%.200s: ended without a result", c.key.key) // stays where runtime.Goexit is called
	defer c.finish()
	defer g.leaveBehind(c)
	c.value, c.err = guard(c.ctx, c.key.key, work)
	if cause := context.Cause(c.ctx); c.err != nil && (cause == errYielded || cause == errAbandoned) {
		c.err = fmt.Errorf("%.200s: %w", c.key.key, cause)
	}
}

// leaveBehind forgets a call that is about to finish. An error that a caller is expected to come back for stays until
// somebody asks, or until nobody is expected any more: it may be recorded nowhere, and the work would begin anew.
func (g *Group) leaveBehind(c *call) {
	failed := c.err != nil && !errors.Is(c.err, errYielded) && !errors.Is(c.err, errAbandoned)
	if failed && c.isExpected() {
		time.AfterFunc(returning, func() { g.forget(c) })
		return
	}
	g.forget(c)
}

func (g *Group) forget(c *call) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.calls[c.key] == c {
		delete(g.calls, c.key)
	}
}

// guard makes an error of a panic. What a panic carries is never wrapped: a stray value that matches fs.ErrNotExist must
// not be taken for an absent thing.
func guard(ctx context.Context, key string, work func(context.Context) (any, error)) (v any, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%.200s: panic: %v\n%s", key, r, debug.Stack())
		}
	}()
	return work(ctx)
}

// Progress sets how the work that ctx belongs to tells how far it is, in a few words for people: "3 of 97 layers". text
// is safe for concurrent use and does not block. Progress does nothing for a context that is no work's.
func Progress(ctx context.Context, text func() string) {
	if c := callOf(ctx); c != nil {
		c.mu.Lock()
		c.text = text
		c.mu.Unlock()
	}
}

// waitError is what a caller gets that leaves before the work is done. It matches the context's error.
type waitError struct {
	key  string
	text string
	err  error
}

func (e *waitError) Error() string {
	return fmt.Sprintf("wait for %.200s: %v", e.key, e.err)
}

func (e *waitError) Unwrap() error { return e.err }

// Progress is how far the work was, "" if it does not tell.
func (e *waitError) Progress() string { return e.text }
