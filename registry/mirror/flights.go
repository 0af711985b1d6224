package mirror

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"

	"golang.org/x/sync/singleflight"
)

// flights are the questions to the upstream that are under way. Whoever asks the same waits for the same answer, and
// one that leaves does not end it for the others.
type flights struct {
	group  singleflight.Group
	ctx    context.Context
	cancel context.CancelFunc

	mu      sync.Mutex // guards ended, and that running does not grow after it
	ended   bool
	running sync.WaitGroup
}

func (f *flights) start() { f.ctx, f.cancel = context.WithCancel(context.Background()) }

// stop ends all of them. Later ones fail.
func (f *flights) stop() {
	f.mu.Lock()
	f.ended = true
	f.mu.Unlock()
	f.cancel()
	f.running.Wait()
}

// once asks under key, on a context of its own, and waits for the answer or the end of ctx.
func once[T any](ctx context.Context, f *flights, key string, ask func(context.Context) (T, error)) (T, error) {
	var zero T
	answered := f.group.DoChan(key, func() (any, error) {
		f.mu.Lock()
		ended := f.ended
		if !ended {
			f.running.Add(1)
		}
		f.mu.Unlock()
		if ended {
			return zero, fmt.Errorf("%s: the mirror is closed: %w", key, context.Canceled)
		}
		defer f.running.Done()
		within, cancel := context.WithTimeout(f.ctx, enough)
		defer cancel()
		return guard(within, key, ask)
	})
	select {
	case r := <-answered:
		v, _ := r.Val.(T)
		return v, r.Err
	case <-ctx.Done():
		return zero, fmt.Errorf("wait for %s: %w", key, ctx.Err())
	}
}

// guard makes an error of a panic, which would end the process on a goroutine of singleflight's.
func guard[T any](ctx context.Context, key string, ask func(context.Context) (T, error)) (v T, err error) {
	err = errors.New(key + ": ended without an answer") // stays where runtime.Goexit is called
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%s: panic: %v\n%s", key, r, debug.Stack())
		}
	}()
	return ask(ctx)
}
