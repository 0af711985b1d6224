package layer

import (
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"strings"

	"github.com/nixreg/nixreg/internal/diskcache"
)

// Blobs keeps encoded layers in a directory, within a number of bytes. Each of them can be made again. Safe for concurrent use,
// by one process at a time.
type Blobs struct{ cache *diskcache.Cache }

// blobLayout names a file by the hex digits of its digest.
var blobLayout = diskcache.Layout{
	Keys:       "*",
	Incomplete: "incomplete-*",
	Sum: func(name string) (sum [sha256.Size]byte, ok bool) {
		b, err := hex.DecodeString(name)
		if err != nil || len(b) != len(sum) || name != strings.ToLower(name) {
			return sum, false
		}
		return [sha256.Size]byte(b), true
	},
}

// OpenBlobs opens the cache in dir, which it makes if it is absent, for at most so many bytes. Files of other names are left
// alone. The log gets what was found damaged; nil is silence. The caller closes the cache.
func OpenBlobs(dir string, most int64, log *slog.Logger) (*Blobs, error) {
	c, err := diskcache.New(diskcache.Options{Dir: dir, Layout: blobLayout, Max: most, Log: log})
	if err != nil {
		return nil, err
	}
	return &Blobs{c}, nil
}

// Close ends the encodings under way and waits for them.
func (b *Blobs) Close() error { return b.cache.Close() }

// KeptBlobs lists the files of a cache's directory, each with the SHA-256 that its bytes must have. An absent directory has none.
// No process may have the cache open.
func KeptBlobs(dir string) (map[string][sha256.Size]byte, error) {
	return diskcache.List(dir, blobLayout)
}
