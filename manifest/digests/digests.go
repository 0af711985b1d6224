// Package digests remembers what never changes: small immutable records under string keys, and who is computing one.
//
// It owns the [Cache] contract, its two implementations ([Memory] and [Badger]) and compute-once ([Group]). It does
// not know what the records mean. Losing every record costs time, never correctness.
package digests

import (
	"context"
)

// Cache is a losable store of small records. Safe for concurrent use.
type Cache interface {
	// Get returns the record under key; one that is absent, or that was damaged, gives an error matching
	// io/fs.ErrNotExist. The caller may keep the slice.
	Get(ctx context.Context, key string) ([]byte, error)
	// Put stores value under key, in place of what may be there.
	Put(ctx context.Context, key string, value []byte) error
}
