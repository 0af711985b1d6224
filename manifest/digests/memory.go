package digests

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"slices"
	"sync"

	"github.com/nixreg/nixreg/internal/lru"
)

// defaultMaxBytes bounds a zero Memory: some hundred thousand small records.
const defaultMaxBytes = 64 << 20

// Memory is a [Cache] that keeps its records in memory and evicts the least recently used ones when they grow
// beyond its bound. The zero value is ready and holds 64 MiB. Safe for concurrent use; do not copy it.
type Memory struct {
	once    sync.Once
	records lru.Cache[string, []byte]
}

// NewMemory returns an empty Memory of at most maxBytes, keys and bookkeeping included; 0 or less means 64 MiB.
// A record that is larger by itself is not kept.
func NewMemory(maxBytes int64) *Memory {
	m := new(Memory)
	m.records.Max = max(maxBytes, 0)
	return m
}

// bounded is the records, with the bound that a zero Memory has.
func (m *Memory) bounded() *lru.Cache[string, []byte] {
	m.once.Do(func() { m.records.Max = cmp.Or(m.records.Max, defaultMaxBytes) })
	return &m.records
}

// Get implements [Cache].
func (m *Memory) Get(ctx context.Context, key string) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("get record %.200q: %w", key, err)
	}
	v, ok := m.bounded().Get(key)
	if !ok {
		return nil, fmt.Errorf("get record %.200q: %w", key, fs.ErrNotExist)
	}
	return slices.Clone(v), nil
}

// Put implements [Cache].
func (m *Memory) Put(ctx context.Context, key string, value []byte) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("put record %.200q: %w", key, err)
	}
	value = append(make([]byte, 0, len(value)), value...)
	m.bounded().Put(key, value, int64(len(key)+len(value)))
	return nil
}
