package realise

import (
	"sync"
	"time"
)

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
