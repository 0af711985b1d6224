package binarycache

import (
	"errors"
	"fmt"

	"github.com/nixreg/nixreg/store"
)

const cacheInfoName = "nix-cache-info"

// checkCacheInfo reads the text of nix-cache-info. Another store directory than ours gives an error matching
// errors.ErrUnsupported, malformed text one matching [ErrCorrupt]. A cache that does not tell its directory has ours, as
// Nix takes it.
//
// Source: Nix, libstore/binary-cache-store.cc, BinaryCacheStore::init.
func checkCacheInfo(text string) error {
	for line, err := range keyLines(text) {
		if err != nil {
			return fmt.Errorf("%s: %w", cacheInfoName, err)
		}
		if line.key == "StoreDir" && line.value != store.Dir {
			return fmt.Errorf("%s: store directory %.300q, not %s: %w", cacheInfoName, line.value, store.Dir, errors.ErrUnsupported)
		}
	}
	return nil
}
