package realise

import (
	"context"
	"errors"
	"time"

	"github.com/nixreg/nixreg/internal/flight"
	"github.com/nixreg/nixreg/internal/lru"
	"github.com/nixreg/nixreg/store"
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

// results are what nix said, by what it was asked in which state of the source.
type results[T any] struct {
	lru.Cache[string, T]
	weigh func(T) int64
}

func newResults[T any](b *Builder, most int64, ttl time.Duration, weigh func(T) int64) *results[T] {
	return &results[T]{lru.Cache[string, T]{Max: most, TTL: ttl, Now: func() time.Time { return b.now() }}, weigh}
}

// cached returns what work returns under key, and runs it once for all who ask at the same time. A result in the same state of the
// source that is good is taken from r, and a failure from memory.
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
		case !errors.Is(err, store.ErrUnavailable) && !errors.Is(err, context.Canceled): // a failure of the source, not of ours
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
