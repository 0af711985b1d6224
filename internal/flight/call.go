package flight

import (
	"context"
	"errors"
	"sync"
	"time"
)

// call is one running piece of work. Its waiters are callers that are no work themselves, and the calls above it: work
// that waits for this work. A call is awaited if it has a waiter of the first kind, or if a call above it is awaited.
//
// Lock order: Queue.mu, then a call's mu, then that of the calls above it. Watchers are called without any of them.
type call struct {
	key    callKey
	ctx    context.Context
	cancel context.CancelCauseFunc
	done   chan struct{} // closed after value and err are set
	value  any
	err    error

	mu       sync.Mutex // guards what follows
	waiters  int
	expected []time.Time // until when each waiter may come back whose deadline passed, the first one first
	returns  *time.Timer // fires after the last of them
	above    map[*call]int
	below    map[*call]int
	watchers map[*func()]bool // called when the call may have become awaited, or has ceased to be
	lingers  *time.Timer      // ends the work; nil while it is awaited
	ended    bool
	text     func() string
}

type contextKey struct{}

// callOf is the call whose work ctx belongs to, or nil.
func callOf(ctx context.Context) *call {
	c, _ := ctx.Value(contextKey{}).(*call)
	return c
}

func newCall(ctx context.Context, k callKey) *call {
	c := &call{key: k, done: make(chan struct{}), above: make(map[*call]int), below: make(map[*call]int), watchers: make(map[*func()]bool)}
	c.ctx, c.cancel = context.WithCancelCause(context.WithValue(ctx, contextKey{}, c))
	return c
}

// enter counts a waiter: the call by, or a caller that is no work if by is nil.
func (c *call) enter(by *call) {
	c.mu.Lock()
	if by == nil {
		c.waiters++
		if c.dropLate(); len(c.expected) > 0 {
			c.expected = c.expected[1:] // here it is
		}
	} else {
		c.above[by]++
	}
	c.mu.Unlock()
	if by != nil {
		by.mu.Lock()
		by.below[c]++
		by.mu.Unlock()
	}
}

// leave is enter undone.
func (c *call) leave(by *call) {
	c.mu.Lock()
	if by == nil {
		c.waiters--
	} else {
		decrement(c.above, by)
	}
	c.mu.Unlock()
	if by != nil {
		by.mu.Lock()
		decrement(by.below, c)
		by.mu.Unlock()
	}
	c.changed()
}

func decrement(m map[*call]int, c *call) {
	if m[c]--; m[c] == 0 {
		delete(m, c)
	}
}

// await waits for the end of the call, which the caller has entered, or for that of ctx, which is an error.
func (c *call) await(ctx context.Context) error {
	by := callOf(ctx)
	defer c.leave(by)
	select {
	case <-c.done:
		return nil
	case <-ctx.Done():
	}
	select {
	case <-c.done: // both at once: the result counts
		return nil
	default:
	}
	if by == nil && errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
		c.expect()
	}
	return &waitError{c.key.key, c.progress(), ctx.Err()}
}

// expect counts a waiter whose deadline passed for a while longer.
func (c *call) expect() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return
	}
	c.dropLate()
	c.expected = append(c.expected, time.Now().Add(returning))
	if c.returns == nil {
		c.returns = time.AfterFunc(returning, c.changed)
	} else {
		c.returns.Reset(returning)
	}
}

// isExpected reports whether a waiter may come back whose deadline passed.
func (c *call) isExpected() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dropLate()
	return len(c.expected) > 0
}

func (c *call) isDone() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// waitsFor reports whether the call is other, or waits for it.
func (c *call) waitsFor(other *call) bool {
	if c == other {
		return true
	}
	c.mu.Lock()
	below := keys(c.below)
	c.mu.Unlock()
	for _, b := range below {
		if b.waitsFor(other) {
			return true
		}
	}
	return false
}

// dropLate forgets those who did not come back. mu is held.
func (c *call) dropLate() {
	for len(c.expected) > 0 && !time.Now().Before(c.expected[0]) {
		c.expected = c.expected[1:]
	}
}

// awaited reports whether somebody waits for the call. A nil call is a caller's own doing, for which it waits.
func (c *call) awaited() bool {
	if c == nil {
		return true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.isAwaited()
}

// isAwaited is awaited, with mu held.
func (c *call) isAwaited() bool {
	if c.dropLate(); c.waiters > 0 || len(c.expected) > 0 {
		return true
	}
	for above := range c.above {
		if above.awaited() {
			return true
		}
	}
	return false
}

// changed looks at who waits for the call, and tells those below it and its watchers.
func (c *call) changed() {
	c.mu.Lock()
	switch awaited := c.isAwaited(); {
	case c.ended:
	case awaited && c.lingers != nil:
		c.lingers.Stop()
		c.lingers = nil
	case !awaited && c.lingers == nil:
		c.lingers = time.AfterFunc(Linger, c.expire)
	}
	below, watchers := keys(c.below), keys(c.watchers)
	c.mu.Unlock()
	for _, b := range below {
		b.changed()
	}
	for _, w := range watchers {
		(*w)()
	}
}

func keys[K comparable, V any](m map[K]V) []K {
	all := make([]K, 0, len(m))
	for k := range m {
		all = append(all, k)
	}
	return all
}

// expire ends the work, unless somebody waits for it again.
func (c *call) expire() {
	if !c.awaited() {
		c.cancel(errAbandoned)
	}
}

// watch has f called after each change of who waits for the call, until stop.
func (c *call) watch(f func()) (stop func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.watchers[&f] = true
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.watchers, &f)
	}
}

// finish tells the waiters that value and err are set.
func (c *call) finish() {
	c.mu.Lock()
	c.ended = true
	for _, t := range []*time.Timer{c.lingers, c.returns} {
		if t != nil {
			t.Stop()
		}
	}
	c.mu.Unlock()
	close(c.done)
	c.cancel(nil)
}

// detach lets those above a finished call forget it.
func (c *call) detach() {
	c.mu.Lock()
	above := keys(c.above)
	clear(c.above)
	c.mu.Unlock()
	for _, by := range above {
		by.mu.Lock()
		delete(by.below, c)
		by.mu.Unlock()
	}
}

// progress is the call's own text, or that of work it waits for.
func (c *call) progress() string {
	c.mu.Lock()
	text, below := c.text, keys(c.below)
	c.mu.Unlock()
	if text != nil {
		return text()
	}
	for _, b := range below {
		if s := b.progress(); s != "" {
			return s
		}
	}
	return ""
}
