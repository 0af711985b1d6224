package digests

import (
	"context"
	"log/slog"
	"sync/atomic"
)

// Tiered is a small fast [Cache] in front of a large one. A record that the far cache does not take, because its disk
// is full, say, is kept in the near one alone: what can be served must not depend on what can be remembered.
// Safe for concurrent use if both are. It closes neither.
type Tiered struct {
	Near, Far Cache
	Log       *slog.Logger // nil is silent

	failing atomic.Bool // the far cache refused the last record: said once, not for each
}

// Get implements [Cache].
func (t *Tiered) Get(ctx context.Context, key string) ([]byte, error) {
	if b, err := t.Near.Get(ctx, key); err == nil {
		return b, nil
	}
	b, err := t.Far.Get(ctx, key)
	if err != nil {
		return nil, err
	}
	return b, t.Near.Put(ctx, key, b)
}

// Put implements [Cache]. Its error is the near cache's, or the context's.
func (t *Tiered) Put(ctx context.Context, key string, value []byte) error {
	if err := t.Near.Put(ctx, key, value); err != nil {
		return err
	}
	err := t.Far.Put(ctx, key, value)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if failing := err != nil; t.failing.Swap(failing) != failing && t.Log != nil {
		if failing {
			t.Log.Error("digests cannot be remembered on disk; images are served all the same", "error", err)
		} else {
			t.Log.Info("digests are remembered on disk again")
		}
	}
	return nil
}
