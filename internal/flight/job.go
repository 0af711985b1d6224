package flight

import (
	"context"
	"errors"
	"fmt"
)

// Job is work that its owner starts, queues and hands out by itself, and that follows the rule of this package all the
// same. Its owner says who waits for it, asks whether anybody does, and may let it give way. Safe for concurrent use.
type Job struct{ call *call }

// NewJob returns a Job whose work is to run on [Job.Context]. changed is called when Awaited may have changed; it must not
// block. The owner ends the Job by Done.
func NewJob(ctx context.Context, changed func()) *Job {
	c := newCall(ctx, callKey{})
	c.watch(changed)
	return &Job{c}
}

// Context is the work's own. It ends with that of NewJob, with Yield, and [Linger] after the last waiter has left.
func (j *Job) Context() context.Context { return j.call.ctx }

// Enter counts a waiter: the work that ctx belongs to, or a caller that is no work.
func (j *Job) Enter(ctx context.Context) {
	j.call.enter(callOf(ctx))
	j.call.changed()
}

// Leave is for a waiter that leaves before Done. One whose deadline has passed is expected to ask again soon.
func (j *Job) Leave(ctx context.Context) {
	by := callOf(ctx)
	if by == nil && errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
		j.call.expect()
	}
	j.call.leave(by)
}

// Awaited reports whether somebody waits for the work.
func (j *Job) Awaited() bool { return j.call.awaited() }

// Yield ends the work's context: its slot is wanted more elsewhere.
func (j *Job) Yield() { j.call.cancel(errYielded) }

// Err is the error of the work: err, or that it was ended before its result was wanted, see [Again].
func (j *Job) Err(err error) error {
	if cause := context.Cause(j.call.ctx); err != nil && (cause == errYielded || cause == errAbandoned) {
		return fmt.Errorf("%w: %v", cause, err) // what err matches came of the end
	}
	return err
}

// Done is for work that has ended. Those who wait for it need not leave.
func (j *Job) Done() {
	j.call.finish()
	j.call.detach()
}

// Again reports whether err says that work was ended before its result was wanted, so that a caller with ctx starts it
// anew.
func Again(ctx context.Context, err error) bool {
	return errors.Is(err, errYielded) || errors.Is(err, errAbandoned) && callOf(ctx).awaited()
}
