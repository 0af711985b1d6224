package mirror

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
)

// maxQuestions is how many questions to an upstream are under way at once. Who has another one waits, and leaves nothing
// behind who goes meanwhile.
const maxQuestions = 64

// flights are the questions to the upstream that are under way. Whoever asks the same waits for the same answer, and
// one that leaves does not end it for the others.
type flights struct {
	ctx    context.Context
	cancel context.CancelFunc
	slots  chan struct{}

	mu      sync.Mutex // guards what follows, and that running does not grow after ended
	ended   bool
	asked   map[string]*question
	running sync.WaitGroup
}

// question is one of them; answer and err are set before done is closed.
type question struct {
	done   chan struct{}
	answer any
	err    error
}

// slotKey is the key under which the context of a question says that it has a slot: what it asks in its turn needs none.
type slotKey struct{}

func (f *flights) start() {
	f.ctx, f.cancel = context.WithCancel(context.WithValue(context.Background(), slotKey{}, true))
	f.slots = make(chan struct{}, maxQuestions)
	f.asked = make(map[string]*question)
}

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
	q, err := f.join(ctx, key, func(ctx context.Context) (any, error) { return guard(ctx, key, ask) })
	if err != nil {
		return zero, err
	}
	select {
	case <-q.done:
		v, _ := q.answer.(T)
		return v, q.err
	case <-ctx.Done():
		return zero, fmt.Errorf("wait for %s: %w", key, ctx.Err())
	}
}

// join returns the question that is under way under key, or begins it once there is a slot.
func (f *flights) join(ctx context.Context, key string, ask func(context.Context) (any, error)) (*question, error) {
	if q := f.find(key); q != nil {
		return q, nil
	}
	free := func() {}
	if ctx.Value(slotKey{}) == nil {
		select {
		case f.slots <- struct{}{}:
			free = func() { <-f.slots }
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for a turn for %s: %w", key, ctx.Err())
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	q := f.asked[key] // since the look above
	if q != nil || f.ended {
		free()
	}
	switch {
	case q != nil:
		return q, nil
	case f.ended:
		return nil, fmt.Errorf("%s: the mirror is closed: %w", key, context.Canceled)
	}
	q = &question{done: make(chan struct{})}
	f.asked[key] = q
	f.running.Go(func() {
		defer free()
		f.run(key, q, ask)
	})
	return q, nil
}

func (f *flights) find(key string) *question {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked[key]
}

func (f *flights) run(key string, q *question, ask func(context.Context) (any, error)) {
	within, cancel := context.WithTimeout(f.ctx, enough)
	defer cancel()
	defer func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.asked, key)
		close(q.done)
	}()
	q.err = errors.New(key + ": ended without an answer") // stays where runtime.Goexit is called
	q.answer, q.err = ask(within)
}

// guard makes an error of a panic, which would end the process.
func guard[T any](ctx context.Context, key string, ask func(context.Context) (T, error)) (v T, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%s: panic: %v\n%s", key, r, debug.Stack())
		}
	}()
	return ask(ctx)
}
