// Package blobs keeps content-addressed blobs in a directory, within a number of bytes, and gives a blob to readers
// while it is still being fetched.
//
// It owns the files, what is thrown away for lack of space, that a blob is fetched once however many want it, and that
// nobody gets the last byte of what does not have its digest. It must not know where blobs come from or what they mean:
// neither HTTP nor registries.
//
//	cache, err := blobs.Open(blobs.Options{Dir: "/var/cache/blobs", Max: 10 << 30})
//	defer cache.Close()
//	hub := cache.Origin(0)
//	b, err := hub.Blob(ctx, digest, -1, fetch)
//	err = b.WriteRange(ctx, w, 0, b.Size())
package blobs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

const (
	maxChecks      = 8  // files that are read through at once
	maxSmallChecks = 64 // small files, beside those
	bufferSize     = 128 << 10
)

var (
	// ErrContent is what errors match about an origin whose bytes are not those of the digest, or that has fewer or
	// more of them than was said.
	ErrContent = errors.New("content is not what was asked for")

	errClosed = fmt.Errorf("blob cache: %w", fs.ErrClosed)
)

// Options say where a Cache is and how large it gets.
type Options struct {
	Dir string // is made if need be
	// Max is how many bytes are kept, those that have come of the blobs being fetched included; the fetches wait for each
	// other so that it is enough. A larger blob goes to its readers through a temporary file, one of them at a time. With
	// 0 nothing is kept. What is gone and still read is not counted.
	Max int64
	Log *slog.Logger     // nil: silent
	Now func() time.Time // nil: time.Now
}

// Fetch opens a blob at its origin. The cache reads the body to its end and closes it; size is -1 where the origin does
// not say. Once ctx ends, Read must return soon. The error of either reaches everyone who waits for the blob as it is.
type Fetch func(ctx context.Context) (body io.ReadCloser, size int64, err error)

// Cache is safe for concurrent use, by one process at a time.
type Cache struct {
	log     *slog.Logger
	ctx     context.Context // of all fetches: it belongs to no single caller; ends with Close
	cancel  context.CancelFunc
	running sync.WaitGroup
	buffers sync.Pool // of *[]byte

	writeAt   func(f *os.File, p []byte, off int64) (int, error)
	freeSpace func(dir string) (int64, error)

	mu      sync.Mutex // guards what follows
	closed  bool
	index   index
	room    *room // for what will be kept
	passage *room // for what is fetched and not kept
	checks  *room // slots
	small   *room // slots of small checks
	flights map[flightKey]*flight
}

// Open opens the cache in a directory and removes what a killed process left half written there. Other files are left
// alone. What is kept beyond Max is removed. The caller closes the Cache.
func Open(o Options) (*Cache, error) {
	if o.Max < 0 || o.Dir == "" {
		return nil, fmt.Errorf("blob cache %q, %d bytes: %w", o.Dir, o.Max, fs.ErrInvalid)
	}
	c := &Cache{
		log:       o.Log,
		checks:    newRoom(maxChecks),
		small:     newRoom(maxSmallChecks),
		buffers:   sync.Pool{New: func() any { b := make([]byte, bufferSize); return &b }},
		writeAt:   (*os.File).WriteAt,
		freeSpace: freeSpace,
		room:      newRoom(o.Max),
		passage:   newRoom(cmp.Or(o.Max, unkeptRoom)),
		flights:   make(map[flightKey]*flight),
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	c.index = index{dir: o.Dir, max: o.Max, log: c.log, now: o.Now, kept: make(map[key]*entry), openFile: openRegular}
	if c.index.now == nil {
		c.index.now = time.Now
	}
	gone, err := c.index.load()
	if err != nil {
		return nil, fmt.Errorf("blob cache: %w", err)
	}
	c.unlink(gone)
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c, nil
}

// Close ends the fetches and waits for them; who reads what they bring gets an error matching [fs.ErrClosed], as does
// everyone who comes later. Closing again does nothing more.
func (c *Cache) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.cancel()
	c.running.Wait()
	return nil
}

// Has tells whether a blob is kept, and its size. Its file may still turn out to be damaged.
func (c *Cache) Has(d v1.Hash) (size int64, ok bool) {
	k, err := parseKey(d)
	if err != nil {
		return 0, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.index.kept[k]
	if e == nil {
		return 0, false
	}
	return e.size, true
}

// Stats is what a Cache holds.
type Stats struct {
	Blobs   int   // that are kept
	Kept    int64 // bytes of them
	Growing int64 // bytes that are set aside for what is being fetched, and will be kept
}

// Stats counts.
func (c *Cache) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Stats{Blobs: len(c.index.kept), Kept: c.index.size, Growing: c.room.limit - c.room.free}
}
