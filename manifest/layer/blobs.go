package layer

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"log/slog"
	"strings"

	"github.com/nixreg/nixreg/internal/diskcache"
)

// Blobs is a cache of encoded layers in a directory, bounded in bytes. Each of them can be made again. Safe for concurrent use by
// one process at a time.
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

// OpenBlobs opens the cache in dir for at most most bytes, and makes dir if it is absent. Files of other names are left alone.
// Damaged files are logged; a nil log is allowed. The caller closes the cache.
func OpenBlobs(dir string, most int64, log *slog.Logger) (*Blobs, error) {
	c, err := diskcache.New(diskcache.Options{Dir: dir, Layout: blobLayout, Max: most, Log: log})
	if err != nil {
		return nil, err
	}
	return &Blobs{c}, nil
}

// Close cancels the encodings in progress and waits for them.
func (b *Blobs) Close() error { return b.cache.Close() }

// KeptBlobs lists the files in the directory of a cache with the SHA-256 that each must have. An absent directory has none.
// No process may have the cache open.
func KeptBlobs(dir string) (map[string][sha256.Size]byte, error) {
	return diskcache.List(dir, blobLayout)
}

// errNotKept is matched by the error if a layer cannot be written to the cache.
var errNotKept = errors.New("cannot be kept")

// sink writes to a file of the cache. After an error it discards the rest, so that a full disk does not prevent hashing; if must
// is set, Write returns the error.
type sink struct {
	fill *diskcache.Fill // nil: there is no cache
	must bool
	err  error
}

func (s *sink) Write(p []byte) (int, error) {
	if s.fill != nil && s.err == nil {
		_, s.err = s.fill.Write(p)
	}
	if s.must && s.err != nil {
		return 0, s.err
	}
	return len(p), nil
}
