// Package digests keeps records: small immutable values that were computed once, under string keys.
//
// It owns two kinds of [Cache], [Memory] and [Badger], with a bound in bytes each. It must not know what the records mean.
package digests

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"slices"
	"sync"

	"github.com/nixreg/nixreg/internal/kv"
	"github.com/nixreg/nixreg/internal/lru"
)

// Cache keeps records. The loss of every record costs time, and no more.
type Cache = kv.Store

// defaultMaxBytes bounds a zero Memory: about a hundred thousand small records.
const defaultMaxBytes = 64 << 20

// Memory is a [Cache] in memory, an LRU of 64 MiB if it is the zero value. Safe for concurrent use; it must not be copied.
type Memory struct {
	once    sync.Once
	records lru.Cache[string, []byte]
}

// NewMemory returns an empty Memory of at most maxBytes, keys and overhead included; 0 or less means 64 MiB. A larger record is not
// kept.
func NewMemory(maxBytes int64) *Memory {
	m := new(Memory)
	m.records.Max = max(maxBytes, 0)
	return m
}

// bounded returns the records, with their bound set.
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
