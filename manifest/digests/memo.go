package digests

import "sync"

// Memo is a map that forgets everything when it has Max entries; with a Max of 0 it remembers nothing but the last. Safe for
// concurrent use. The zero value is empty.
type Memo[K comparable, V any] struct {
	Max    int
	mu     sync.Mutex
	values map[K]V
}

// Get returns what Put stored under key.
func (m *Memo[K, V]) Get(key K) (V, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	v, ok := m.values[key]
	return v, ok
}

// Put stores v under key.
func (m *Memo[K, V]) Put(key K, v V) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.values == nil || len(m.values) >= m.Max {
		m.values = make(map[K]V)
	}
	m.values[key] = v
}

// Clear forgets everything.
func (m *Memo[K, V]) Clear() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.values = nil
}
