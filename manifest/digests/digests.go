// Package digests remembers what never changes: small immutable records under string keys.
//
// It owns the [Cache] contract, its two implementations ([Memory] and [Badger]), and what one process remembers for itself
// ([Memo]). It does not know what the records mean. Losing every record costs time, never correctness.
package digests

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
)

// Cache is a losable store of small records. Safe for concurrent use.
type Cache interface {
	// Get returns the record under key; one that is absent, or that was damaged, gives an error matching
	// io/fs.ErrNotExist. The caller may keep the slice.
	Get(ctx context.Context, key string) ([]byte, error)
	// Put stores value under key, in place of what may be there.
	Put(ctx context.Context, key string, value []byte) error
}

// Read decodes the JSON in the record under key. What is absent, or is no such JSON, gives an error matching
// io/fs.ErrNotExist.
func Read(ctx context.Context, c Cache, key string, to any) error {
	b, err := c.Get(ctx, key)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, to); err != nil {
		return fmt.Errorf("record %s: %w: %w", key, err, fs.ErrNotExist) // as good as absent
	}
	return nil
}

// Write stores the JSON of from under key.
func Write(ctx context.Context, c Cache, key string, from any) error {
	b, err := json.Marshal(from)
	if err != nil {
		return fmt.Errorf("record %s: %w", key, err)
	}
	return c.Put(ctx, key, b)
}
