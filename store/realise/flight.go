package realise

import (
	"context"
	"sync"
	"time"
)

// owner starts goroutines that outlive the requests they were started for, and ends them.
type owner struct {
	ctx    context.Context // of the goroutines, not of any request
	cancel context.CancelFunc
	mu     sync.Mutex
	closed bool
	wg     sync.WaitGroup
}

func newOwner() *owner {
	o := new(owner)
	o.ctx, o.cancel = context.WithCancel(context.Background())
	return o
}

func (o *owner) start(run func(context.Context)) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return errClosed
	}
	o.wg.Go(func() { run(o.ctx) })
	return nil
}

func (o *owner) close() {
	o.mu.Lock()
	o.closed = true
	o.mu.Unlock()
	o.cancel()
	o.wg.Wait()
}

// flights runs one thing of a name at a time; who asks meanwhile gets the same answer.
type flights[T any] struct {
	mu   sync.Mutex
	runs map[string]*flight[T]
}

type flight[T any] struct {
	done  chan struct{}
	value T
	err   error
}

// do waits for run or for ctx; run goes on without the waiter, until its own end or its owner's.
func (f *flights[T]) do(ctx context.Context, o *owner, key string, run func(context.Context) (T, error)) (T, error) {
	var none T
	if err := ctx.Err(); err != nil {
		return none, err
	}
	fl, err := f.join(o, key, run)
	if err != nil {
		return none, err
	}
	select {
	case <-fl.done:
		return fl.value, fl.err
	case <-ctx.Done():
		return none, ctx.Err()
	}
}

func (f *flights[T]) join(o *owner, key string, run func(context.Context) (T, error)) (*flight[T], error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if fl := f.runs[key]; fl != nil {
		return fl, nil
	}
	fl := &flight[T]{done: make(chan struct{}), err: errClosed}
	err := o.start(func(ctx context.Context) {
		defer close(fl.done)
		defer func() {
			f.mu.Lock()
			delete(f.runs, key)
			f.mu.Unlock()
		}()
		fl.value, fl.err = run(ctx)
	})
	if err != nil {
		return nil, err
	}
	if f.runs == nil {
		f.runs = make(map[string]*flight[T])
	}
	f.runs[key] = fl
	return fl, nil
}

// queue bounds what runs and what waits.
type queue struct{ slots, waiting chan struct{} }

func newQueue(running, waiting int) *queue {
	return &queue{make(chan struct{}, running), make(chan struct{}, waiting)}
}

// enter waits for a turn, or gives [ErrBusy] at once.
func (q *queue) enter(ctx context.Context) (leave func(), err error) {
	leave = func() { <-q.slots }
	select {
	case q.slots <- struct{}{}:
		return leave, nil
	default:
	}
	select {
	case q.waiting <- struct{}{}:
		defer func() { <-q.waiting }()
	default:
		return nil, ErrBusy
	}
	select {
	case q.slots <- struct{}{}:
		return leave, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// memo remembers at most max values, each for a while.
type memo[T any] struct {
	max int
	mu  sync.Mutex
	m   map[string]remembered[T]
}

type remembered[T any] struct {
	value T
	state string // of the source, when the value was made
	at    time.Time
}

// get returns what was put under key in this state of the source, not before since.
func (m *memo[T]) get(key, state string, since time.Time) (v T, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.m[key]
	if !ok || r.state != state || r.at.Before(since) {
		return v, false
	}
	return r.value, true
}

func (m *memo[T]) put(key, state string, at time.Time, v T) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.m[key]; !ok && len(m.m) >= m.max {
		m.evict()
	}
	if m.m == nil {
		m.m = make(map[string]remembered[T])
	}
	m.m[key] = remembered[T]{v, state, at}
}

func (m *memo[T]) evict() {
	oldest := ""
	for k, r := range m.m {
		if oldest == "" || r.at.Before(m.m[oldest].at) {
			oldest = k
		}
	}
	delete(m.m, oldest)
}
