// Package kv is the contract of a key-value store of small records that may be lost. It owns the encoding of records as JSON, too.
//
// It must not know the meaning of the records, or their place: manifest/digests has the stores.
package kv

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
)

// Store keeps small records under string keys. Losing any of them, at any time, costs time and never correctness. Safe for
// concurrent use.
type Store interface {
	// Get returns the record under key. If the record is absent or damaged, the error matches [fs.ErrNotExist]. The caller may keep
	// the slice.
	Get(ctx context.Context, key string) ([]byte, error)
	// Put stores value under key, in place of an older record.
	Put(ctx context.Context, key string, value []byte) error
}

// Read decodes the JSON in the record under key. If the record is absent, or is not JSON for the type of to, the error matches
// [fs.ErrNotExist].
func Read(ctx context.Context, s Store, key string, to any) error {
	b, err := s.Get(ctx, key)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, to); err != nil {
		return fmt.Errorf("record %s: %w: %w", key, err, fs.ErrNotExist) // as good as absent
	}
	return nil
}

// Write stores the JSON of from under key.
func Write(ctx context.Context, s Store, key string, from any) error {
	b, err := json.Marshal(from)
	if err != nil {
		return fmt.Errorf("record %s: %w", key, err)
	}
	return s.Put(ctx, key, b)
}
