package realise

import (
	"context"
	"errors"

	"github.com/nixreg/nixreg/internal/flight"
)

// once is [flight.Once], with the error that callers of a closed Builder or Roots get.
func once[T any](ctx context.Context, g *flight.Group, key string, work func(context.Context) (T, error)) (T, error) {
	v, err := flight.Once(ctx, g, key, work)
	if errors.Is(err, context.Canceled) && ctx.Err() == nil {
		err = errClosed
	}
	return v, err
}

// enter waits for a slot. [ErrBusy] comes at once.
func enter(ctx context.Context, q *flight.Queue) (leave func(), err error) {
	leave, err = q.Acquire(ctx)
	if errors.Is(err, flight.ErrFull) {
		err = ErrBusy
	}
	return leave, err
}
