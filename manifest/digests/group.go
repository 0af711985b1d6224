package digests

import (
	"context"
	"fmt"
	"reflect"
	"runtime/debug"
	"sync"
)

// Group knows which computations are running, so that each runs once however many ask for it at the same time.
// It remembers nothing of a finished one: callers combine it with a [Cache]. Safe for concurrent use.
type Group struct {
	ctx    context.Context // the computations', not any caller's
	cancel context.CancelFunc

	mu      sync.Mutex // guards what follows
	closed  bool
	flights map[flightKey]any // *flight[T], T being the key's type
	running sync.WaitGroup
}

// flightKey has the result's type, so that a key used for two types is two computations and no wrong conversion.
type flightKey struct {
	key    string
	result reflect.Type
}

// flight is one running computation; value and err are set before done is closed.
type flight[T any] struct {
	done  chan struct{}
	value T
	err   error
}

// NewGroup returns a Group whose computations run on ctx. The caller closes it.
func NewGroup(ctx context.Context) *Group {
	g := &Group{flights: make(map[flightKey]any)}
	g.ctx, g.cancel = context.WithCancel(ctx)
	return g
}

// Close cancels the running computations and waits for them to end. After it, [Once] gives an error matching
// [context.Canceled]. Closing again does nothing more.
func (g *Group) Close() {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	g.cancel()
	g.running.Wait()
}

// Once returns what compute returns under key, running it once for all who ask while it runs. compute gets the
// Group's context, so that it outlives a caller that leaves; the end of ctx ends the wait of this caller alone.
// A panic in compute is an error, with its stack, to everyone who waits. All of them share one result: what it
// points to must not be changed. compute must not ask for its own key.
func Once[T any](ctx context.Context, g *Group, key string, compute func(context.Context) (T, error)) (T, error) {
	var zero T
	if err := ctx.Err(); err != nil {
		return zero, fmt.Errorf("compute %.200s: %w", key, err)
	}
	f, err := join(g, key, compute)
	if err != nil {
		return zero, fmt.Errorf("compute %.200s: %w", key, err)
	}
	select {
	case <-f.done:
		return f.value, f.err
	case <-ctx.Done():
		return zero, fmt.Errorf("wait for %.200s: %w", key, ctx.Err())
	}
}

// join finds the flight of key, or starts it.
func join[T any](g *Group, key string, compute func(context.Context) (T, error)) (*flight[T], error) {
	k := flightKey{key: key, result: reflect.TypeFor[T]()}
	g.mu.Lock()
	defer g.mu.Unlock()
	if f, ok := g.flights[k]; ok {
		return f.(*flight[T]), nil
	}
	if g.closed {
		return nil, fmt.Errorf("group is closed: %w", context.Canceled)
	}
	f := &flight[T]{done: make(chan struct{})}
	f.err = fmt.Errorf("compute %.200s: ended without a result", key) // stays where runtime.Goexit is called
	g.flights[k] = f
	g.running.Go(func() {
		defer close(f.done)
		defer g.forget(k) // before done: who comes later starts anew
		f.value, f.err = guard(g.ctx, key, compute)
	})
	return f, nil
}

func (g *Group) forget(k flightKey) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.flights, k)
}

// guard runs compute and makes an error of a panic. What a panic carries is never wrapped: a stray value matching
// fs.ErrNotExist must not be taken for an absent record.
func guard[T any](ctx context.Context, key string, compute func(context.Context) (T, error)) (value T, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("compute %.200s: panic: %v\n%s", key, r, debug.Stack())
		}
	}()
	return compute(ctx)
}
