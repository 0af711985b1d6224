package mirror

import (
	"context"

	"github.com/nixreg/nixreg/internal/flight"
)

// maxQuestions is how many questions to an upstream are under way at once.
const maxQuestions = 64

// flights are the questions to the upstream that are under way, and in line. A question in line ends when its last client
// leaves.
type flights struct {
	group *flight.Group
	slots flight.Queue
}

// slotKey is the key under which the context of a question says that it has a slot: a question that follows from it needs
// none.
type slotKey struct{}

func (f *flights) start() {
	f.group = flight.NewGroup(context.WithValue(context.Background(), slotKey{}, true))
	f.slots.Running, f.slots.Drop = maxQuestions, true
}

// stop ends all questions. Later ones fail.
func (f *flights) stop() { f.group.Close() }

// once asks under key, once for all who want to know, and waits for the answer or the end of ctx.
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
