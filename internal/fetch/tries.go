package fetch

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"
)

// Tries bounds the tries of a request, and counts those that failed since the last progress. It is for one request at a time.
type Tries struct {
	Max  int // for an error that may pass
	Busy int // for 429: the server wants fewer requests
	// First and Longest bound the time between tries, which doubles; up to half of it is added.
	First, Longest time.Duration
	// Rest is the longest Retry-After that is waited for. A longer one is an error at once; if Capped, the next try comes
	// after Rest.
	Rest   time.Duration
	Capped bool
	// Pause waits between tries, or returns an error; cause is why.
	Pause func(ctx context.Context, d time.Duration, cause error) error

	Made  int  // tries that failed
	begun bool // the server has answered before, so a timeout is worth another try
}

// Do calls try until it succeeds, or until another try makes no sense. The error is that of try or of ctx.
func (t *Tries) Do(ctx context.Context, try func() error) error {
	for {
		err := try()
		if err == nil {
			t.begun = true
			return nil
		}
		if err := t.wait(ctx, err); err != nil {
			return err
		}
	}
}

// wait waits before another try. It returns cause, or the error of ctx, if there must be no other try. After an error that is no
// [*Error] there is none.
func (t *Tries) wait(ctx context.Context, cause error) error {
	t.Made++
	var e *Error
	most := t.Max
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case !errors.As(cause, &e), !e.passes(), e.Kind == ErrTimeout && !t.begun:
		return cause
	case e.Status == http.StatusTooManyRequests:
		most = t.Busy
	}
	if t.Made >= most {
		return cause
	}
	d := min(t.First<<(min(t.Made, 16)-1), t.Longest)
	d += rand.N(d/2 + 1)
	if e.RetryAfter > t.Rest && !t.Capped {
		return fmt.Errorf("%w: the server wants to be left alone for %v", cause, e.RetryAfter.Round(time.Second))
	}
	if e.RetryAfter > 0 {
		d = min(e.RetryAfter, t.Rest)
	}
	return t.Pause(ctx, d, cause)
}

// Sleep waits, or returns the error of ctx if that ends first.
func Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
