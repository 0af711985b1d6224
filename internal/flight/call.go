package flight

import (
	"context"
	"errors"
	"sync"
	"time"
)

// call is one running piece of work. Its waiters are callers outside of any work, and other calls, which are above it. A
// call is awaited if it has a waiter of the first kind or if a call above it is awaited.
//
// Lock order: Queue.mu, then the mu of a call, then the mu of the calls above it. Watchers are called without a lock.
type call struct {
	key    callKey
	ctx    context.Context
	cancel context.CancelCauseFunc
	done   chan struct{} // closed after value and err are set
	value  any
	err    error

	mu       sync.Mutex // guards what follows
	waiters  int
	expected []time.Time // for each waiter that may return, when it counts no longer; earliest first
	returns  *time.Timer // fires at the last of these times
	above    map[*call]int
	below    map[*call]int
	watchers map[*func()]bool // called when awaited may have changed
	lingers  *time.Timer      // ends the work; nil while the call is awaited
	ended    bool
	text     func() string
}

type contextKey struct{}

// callOf returns the call to whose work ctx belongs, or nil.
func callOf(ctx context.Context) *call {
	c, _ := ctx.Value(contextKey{}).(*call)
	return c
}

func newCall(ctx context.Context, k callKey) *call {
	c := &call{key: k, done: make(chan struct{}), above: make(map[*call]int), below: make(map[*call]int), watchers: make(map[*func()]bool)}
	c.ctx, c.cancel = context.WithCancelCause(context.WithValue(ctx, contextKey{}, c))
	return c
}

// enter adds a waiter: the call by, or a caller outside of any work if by is nil.
func (c *call) enter(by *call) {
	c.mu.Lock()
	if by == nil {
		c.waiters++
		if c.dropLate(); len(c.expected) > 0 {
			c.expected = c.expected[1:] // this is the one that returns
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

// leave removes a waiter that enter has added.
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

// await waits for the end of the call, which the caller has entered. The end of ctx is an error.
func (c *call) await(ctx context.Context) error {
	by := callOf(ctx)
	defer c.leave(by)
	select {
	case <-c.done:
		return nil
	case <-ctx.Done():
	}
	select {
	case <-c.done: // both have ended: the result counts
		return nil
	default:
	}
	if by == nil && errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
		c.expect()
	}
	return &waitError{c.key.key, c.progress(), ctx.Err()}
}

// expect counts a waiter whose deadline has passed for returnTime longer.
func (c *call) expect() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return
	}
	c.dropLate()
	c.expected = append(c.expected, time.Now().Add(returnTime))
	if c.returns == nil {
		c.returns = time.AfterFunc(returnTime, c.changed)
	} else {
		c.returns.Reset(returnTime)
	}
}

// isExpected reports whether a waiter whose deadline has passed may return.
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

// dropLate removes expected waiters that did not return in time. mu is held.
func (c *call) dropLate() {
	for len(c.expected) > 0 && !time.Now().Before(c.expected[0]) {
		c.expected = c.expected[1:]
	}
}

// awaited reports whether the call has a waiter. A nil call stands for a caller outside of any work, and is awaited.
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

// changed starts or stops the timer that ends the work, and passes the change on to the calls below and to the watchers.
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

// expire ends the work unless it has a waiter again.
func (c *call) expire() {
	if !c.awaited() {
		c.cancel(errAbandoned)
	}
}

// watch registers f, which is called after each change of the waiters until stop is called.
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

// finish wakes the waiters. value and err are set.
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

// progress returns the text of the call or of a call below it.
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
