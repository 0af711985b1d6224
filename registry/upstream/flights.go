package upstream

import (
	"context"
	"errors"
	"sync"
)

// flights lets each piece of work run once for all who want it at the same time. It remembers no results.
type flights[T any] struct {
	mu      sync.Mutex
	running map[string]*flight[T]
}

// flight is work under way; value, err and left are set before done is closed.
type flight[T any] struct {
	done  chan struct{}
	value T
	err   error
	left  bool // its owner's context ended: the result says nothing to the others
}

// do runs work, which is on ctx, or waits for who runs it already.
func (f *flights[T]) do(ctx context.Context, key string, work func() (T, error)) (T, error) {
	for {
		own, other := f.join(key)
		if other == nil {
			return f.run(ctx, key, own, work)
		}
		select {
		case <-other.done:
			if !other.left {
				return other.value, other.err
			}
		case <-ctx.Done():
			var zero T
			return zero, ctx.Err()
		}
	}
}

// join returns the flight of key as the caller's own, or as another's.
func (f *flights[T]) join(key string) (own, other *flight[T]) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if other = f.running[key]; other != nil {
		return nil, other
	}
	if f.running == nil {
		f.running = make(map[string]*flight[T])
	}
	own = &flight[T]{done: make(chan struct{}), err: errors.New("ended without a result")} // stays after a panic
	f.running[key] = own
	return own, nil
}

func (f *flights[T]) run(ctx context.Context, key string, own *flight[T], work func() (T, error)) (T, error) {
	defer func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.running, key)
		close(own.done)
	}()
	own.value, own.err = work()
	own.left = own.err != nil && ctx.Err() != nil
	return own.value, own.err
}
