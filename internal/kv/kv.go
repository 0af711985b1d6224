// Package kv is the contract of a key-value store of small records that may be lost, and how records are written in it.
//
// It does not know what the records mean, nor where they are kept: manifest/digests has the stores.
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
	// Get returns the record under key; one that is absent, or that was damaged, gives an error matching
	// [fs.ErrNotExist]. The caller may keep the slice.
	Get(ctx context.Context, key string) ([]byte, error)
	// Put stores value under key, in place of an older record.
	Put(ctx context.Context, key string, value []byte) error
}

// Read decodes the JSON in the record under key. A record that is absent, or is no such JSON, gives an error matching
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
