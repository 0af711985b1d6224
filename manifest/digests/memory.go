package digests

import (
	"container/list"
	"context"
	"fmt"
	"io/fs"
	"slices"
	"sync"
)

// defaultMaxBytes bounds a zero Memory: some hundred thousand small records.
const defaultMaxBytes = 64 << 20

// recordOverhead is about what the map, the list and the headers of one record take beside its bytes.
const recordOverhead = 200

// Memory is a [Cache] that keeps its records in memory and forgets the least recently used ones when they grow
// beyond its bound. The zero value is ready and holds 64 MiB. Safe for concurrent use; do not copy it.
type Memory struct {
	mu      sync.Mutex
	max     int64 // bytes; 0 means defaultMaxBytes
	size    int64
	records map[string]*list.Element // of memoryRecord
	recent  list.List                // the most recently used first
}

type memoryRecord struct {
	key   string
	value []byte
}

func (r memoryRecord) size() int64 { return int64(len(r.key)+len(r.value)) + recordOverhead }

// NewMemory returns an empty Memory of at most maxBytes, keys and bookkeeping included; 0 or less means 64 MiB.
// A record that is larger by itself is not kept.
func NewMemory(maxBytes int64) *Memory { return &Memory{max: max(maxBytes, 0)} }

// Get implements [Cache].
func (m *Memory) Get(ctx context.Context, key string) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("get record %.200q: %w", key, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := m.records[key]
	if !ok {
		return nil, fmt.Errorf("get record %.200q: %w", key, fs.ErrNotExist)
	}
	m.recent.MoveToFront(e)
	return slices.Clone(e.Value.(memoryRecord).value), nil
}

// Put implements [Cache].
func (m *Memory) Put(ctx context.Context, key string, value []byte) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("put record %.200q: %w", key, err)
	}
	r := memoryRecord{key: key, value: append(make([]byte, 0, len(value)), value...)}
	m.mu.Lock()
	defer m.mu.Unlock()
	if e, ok := m.records[key]; ok {
		m.remove(e)
	}
	if r.size() > m.bound() {
		return nil
	}
	if m.records == nil {
		m.records = make(map[string]*list.Element)
	}
	m.records[key] = m.recent.PushFront(r)
	for m.size += r.size(); m.size > m.bound(); {
		m.remove(m.recent.Back())
	}
	return nil
}

func (m *Memory) bound() int64 {
	if m.max == 0 {
		return defaultMaxBytes
	}
	return m.max
}

func (m *Memory) remove(e *list.Element) {
	r := m.recent.Remove(e).(memoryRecord)
	delete(m.records, r.key)
	m.size -= r.size()
}
