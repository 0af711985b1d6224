package flight

import (
	"context"
	"errors"
	"fmt"
)

// Job is work that its owner starts, queues and hands out itself, under the rule of this package for work that nobody waits
// for. The owner reports its waiters and may let it yield. Safe for concurrent use.
type Job struct{ call *call }

// NewJob returns a Job whose work uses [Job.Context]. changed is called when Awaited may have changed; it must not block.
// The owner ends the Job with Done.
func NewJob(ctx context.Context, changed func()) *Job {
	c := newCall(ctx, callKey{})
	c.watch(changed)
	return &Job{c}
}

// Context is the context of the work. It ends with the context of NewJob, by Yield, and [Linger] after the last waiter left.
func (j *Job) Context() context.Context { return j.call.ctx }

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

// Awaited reports whether the work has a waiter.
func (j *Job) Awaited() bool { return j.call.awaited() }

// Yield ends the context of the work: other work needs its slot.
func (j *Job) Yield() { j.call.cancel(errYielded) }

// Err returns err, or an error for which [Again] reports true if the work was ended for lack of a waiter.
func (j *Job) Err(err error) error {
	if cause := context.Cause(j.call.ctx); err != nil && (cause == errYielded || cause == errAbandoned) {
		return fmt.Errorf("%w: %v", cause, err) // err is a consequence of the end
	}
	return err
}

// Done ends the Job. Its waiters need not leave.
func (j *Job) Done() {
	j.call.finish()
	j.call.detach()
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

// Ended is closed when the work has ended.
func (j *Job) Ended() <-chan struct{} { return j.call.done }

// Result is the error of work that has ended. [Again] reports true for it if the work was ended for lack of a waiter.
func (j *Job) Result() error { return j.call.err }
