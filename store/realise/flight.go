package realise

import (
	"context"
	"errors"
	"time"

	"github.com/nixreg/nixreg/internal/flight"
	"github.com/nixreg/nixreg/internal/lru"
	"github.com/nixreg/nixreg/store"
)

// once is [flight.Once] with the error of a closed Builder or Roots.
func once[T any](ctx context.Context, g *flight.Group, key string, work func(context.Context) (T, error)) (T, error) {
	v, err := flight.Once(ctx, g, key, work)
	if errors.Is(err, context.Canceled) && ctx.Err() == nil {
		err = errClosed
	}
	return v, err
}

// enter waits for a slot. If the queue is full, it returns [ErrBusy] at once.
func enter(ctx context.Context, q *flight.Queue) (leave func(), err error) {
	leave, err = q.Acquire(ctx)
	if errors.Is(err, flight.ErrFull) {
		err = ErrBusy
	}
	return leave, err
}

// results caches the answers of nix by question and state of the source.
type results[T any] struct {
	lru.Cache[string, T]
	weigh func(T) int64
}

func newResults[T any](b *Builder, most int64, ttl time.Duration, weigh func(T) int64) *results[T] {
	return &results[T]{lru.Cache[string, T]{Max: most, TTL: ttl, Now: func() time.Time { return b.now() }}, weigh}
}

// cached returns the result of work under key. Concurrent callers share one run. A result comes from r if the state of the source is
// the same; a failure comes from the cache of failures.
func cached[T any](ctx context.Context, b *Builder, r *results[T], key string, good func(T) bool, work func(context.Context) (T, error)) (T, error) {
	stated := key + " " + b.source.state()
	if v, ok := r.Get(stated); ok && good(v) {
		return v, nil
	}
	if err, ok := b.failed.Get(stated); ok {
		var zero T
		return zero, err
	}
	return once(ctx, b.group, key, func(ctx context.Context) (T, error) {
		v, err := work(ctx)
		switch {
		case err == nil:
			r.Put(stated, v, int64(len(stated))+r.weigh(v))
		case !errors.Is(err, store.ErrUnavailable) && !errors.Is(err, context.Canceled): // the source is wrong, not this program
			b.failed.Put(stated, err, int64(len(stated))+b.failed.weigh(err))
		}
		return v, err
	})
}

func always[T any](T) bool { return true }

func weighPaths(paths []store.Path) (n int64) {
	for _, p := range paths {
		n += int64(len(p)) + 16
	}
	return n
}
