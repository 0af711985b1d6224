// Package digests remembers what never changes: small immutable records under string keys.
//
// It owns two kinds of [Cache] ([Memory] and [Badger]), and what one process remembers for itself
// ([Memo]). It does not know what the records mean.
package digests

import "github.com/nixreg/nixreg/internal/kv"

// Cache is what keeps the records. Losing every one of them costs time, never correctness.
type Cache = kv.Store
