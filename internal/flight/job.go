package flight

import (
	"context"
	"errors"
	"fmt"
)

// Job is work that callers wait for by hand: each waiter enters and leaves. It follows the rule of this package for work without a
// waiter. Safe for concurrent use.
type Job struct{ call *call }

// Enter adds a waiter: the work of ctx, or a caller outside of any work.
func (j *Job) Enter(ctx context.Context) {
	j.call.enter(callOf(ctx))
	j.call.changed()
}

// Leave removes a waiter. If its deadline passes before the end of the work, it is expected to ask again soon.
func (j *Job) Leave(ctx context.Context) {
	by := callOf(ctx)
	j.call.mu.Lock()
	ended := j.call.ended
	j.call.mu.Unlock()
	if by == nil && !ended && errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
		j.call.expect()
	}
	j.call.leave(by)
}

// Again reports whether err says that work was ended for lack of a waiter, so that a caller with ctx has to start it again.
func Again(ctx context.Context, err error) bool {
	return errors.Is(err, errYielded) || errors.Is(err, errAbandoned) && callOf(ctx).awaited()
}

// Go starts work that several callers wait for without waiting for its end: the caller is the first waiter. The work runs in the
// group as that of [Once] does: on a context of its own, with panics made errors.
func (g *Group) Go(ctx context.Context, key string, work func(context.Context) error) (*Job, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return nil, fmt.Errorf("begin %.200s: group is closed: %w", key, context.Canceled)
	}
	c := newCall(g.ctx, callKey{key: key})
	c.enter(callOf(ctx))
	g.running.Go(func() {
		g.run(c, func(ctx context.Context) (any, error) { return nil, work(ctx) })
	})
	return &Job{c}, nil
}

// Done is closed when the work has ended.
func (j *Job) Done() <-chan struct{} { return j.call.done }

// Err is the error of work that has ended. [Again] reports true for it if the work was ended for lack of a waiter.
func (j *Job) Err() error { return j.call.err }
