package mirror

import (
	"context"

	"github.com/nixreg/nixreg/internal/flight"
)

// maxRequests is how many requests to an upstream run at once.
const maxRequests = 64

// flights has the requests to the upstream that run or wait for a slot. A request that waits ends when its last client leaves.
type flights struct {
	group *flight.Group
	slots flight.Queue
}

// slotKey is the key of a context value: the work of that context has a slot. A request that is part of it needs no other one.
type slotKey struct{}

func (f *flights) start() {
	f.group = flight.NewGroup(context.WithValue(context.Background(), slotKey{}, true))
	f.slots.Running, f.slots.Drop = maxRequests, true
}

// stop ends all requests. Later ones fail.
func (f *flights) stop() { f.group.Close() }

// once runs ask under key, once for all callers at the same time, and waits for its result or the end of ctx.
func once[T any](ctx context.Context, f *flights, key string, ask func(context.Context) (T, error)) (T, error) {
	follows := ctx.Value(slotKey{}) != nil
	return flight.Once(ctx, f.group, key, func(ctx context.Context) (T, error) {
		if follows {
			return ask(ctx)
		}
		release, err := f.slots.Acquire(ctx)
		if err != nil {
			var zero T
			return zero, err
		}
		defer release()
		return ask(ctx)
	})
}
