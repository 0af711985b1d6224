// Package diskcache keeps files under keys in a directory, within a number of bytes.
//
// It owns the whole life of a file. A file is filled once for all its callers, and they read it while it fills. A file gets its
// name when it is complete. A file that an earlier process left, or that was changed since, is verified before its first byte
// is used, and is removed if it is wrong. A file in use is pinned; of the others the least recently used are evicted. The
// package must not know what the bytes are, nor where they come from: neither Nix, nor registries, nor HTTP.
//
//	c, err := diskcache.New(diskcache.Options{Dir: dir, Max: 1 << 30, Layout: layout})
//	defer c.Close()
//	f, err := c.Get(ctx, key, nil, fill)
//	defer f.Close()
//	_, err = f.WriteRange(ctx, w, 0, f.Size())
package diskcache

import (
	"cmp"
	"container/list"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/nixreg/nixreg/internal/flight"
)

var (
	// ErrAbsent is matched by the error about a key without a file, or whose file was wrong and is removed.
	ErrAbsent = fmt.Errorf("not kept: %w", fs.ErrNotExist)
	// ErrChanged is matched by the error about a file that has changed since it was opened. The next caller gets a right one.
	ErrChanged = errors.New("changed on disk")
	// ErrSize is matched by the error about a fill that writes more or fewer bytes than it announced.
	ErrSize = errors.New("not the announced size")

	errClosed = fmt.Errorf("disk cache: %w", fs.ErrClosed)
)

// Layout names the files of a cache. A key is the name of its file relative to the directory, with slashes.
type Layout struct {
	// Keys is the pattern of all keys, as [path.Match] takes it: "*.nar", "sha256/??/*". Its elements before the last one match
	// directories.
	Keys string
	// Incomplete is the pattern of the files that are being filled, as [os.CreateTemp] takes it: "tmp-*", "incoming/blob-*".
	Incomplete string
	// Sum tells whether a name that matches Keys is a key, and the SHA-256 that the bytes must have. A cache with
	// Options.Verify ignores the sum.
	Sum func(key string) (sum [sha256.Size]byte, ok bool)
}

// Options configures a [Cache].
type Options struct {
	Dir    string // is made if it is absent
	Layout Layout
	// Max is the size of all files together, in bytes. Files in use count, but are not evicted. A file that is larger than Max
	// does not count, and goes after its last use.
	Max int64
	// Linger is how long one file larger than Max stays after its last use.
	Linger time.Duration
	// Spare is how many bytes of the file system stay free. Files are evicted for it; if that is not enough, a new file is
	// not kept, and below half of Spare it fails with ENOSPC.
	Spare int64
	// Sync makes the bytes of a file durable before it gets its name.
	Sync bool
	// Verify reads a file to its end and returns an error if the bytes are not those of the key. Default: SHA-256 by Layout.Sum.
	Verify func(ctx context.Context, key string, r io.Reader) error
	Log    *slog.Logger // gets what was found wrong; nil is silence
}

// Stats is what a Cache holds and has done since it was opened.
type Stats struct {
	Files   int
	Bytes   int64 // of files
	Growing int64 // bytes of the files that are being filled and will be kept

	Hits, Fills, Evictions int64
}

// Cache is safe for concurrent use, by one process at a time.
type Cache struct {
	Options
	group  *flight.Group
	checks [2]flight.Queue // for small and for large files

	writeAt   func(f *os.File, p []byte, off int64) (int, error)
	freeSpace func(dir string) (int64, error)
	open      func(name string) (*os.File, error)

	mu      sync.Mutex // guards what follows, and the entries; held while a file gets or loses its name
	closed  bool
	entries map[string]*entry
	recent  list.List // of *entry, the one used last in front
	large   *entry    // the file above Max that lingers; nil if there is none
	lingers *time.Timer
	evicted []*os.File // to be closed without the lock
	stats   Stats
	fills   map[fillKey]*Fill
}

// New opens the cache in a directory: it removes what a killed process left incomplete, and what exceeds Max. Files that the
// Layout does not name are left alone. No file is read. The caller closes the Cache.
func New(o Options) (*Cache, error) {
	if o.Dir == "" || o.Max < 0 {
		return nil, fmt.Errorf("disk cache in %q of %d bytes: %w", o.Dir, o.Max, fs.ErrInvalid)
	}
	o.Log = cmp.Or(o.Log, slog.New(slog.DiscardHandler))
	c := &Cache{
		Options: o, entries: make(map[string]*entry), fills: make(map[fillKey]*Fill),
		writeAt: (*os.File).WriteAt, freeSpace: freeSpace, open: openRegular,
	}
	c.checks[0].Running, c.checks[1].Running = maxSmallChecks, maxChecks
	if err := c.load(); err != nil {
		return nil, fmt.Errorf("disk cache: %w", err)
	}
	c.group = flight.NewGroup(context.Background())
	return c, nil
}

// Close ends the fills and waits for them. Their callers, and those who come later, get an error matching [fs.ErrClosed]. Open
// files stay readable. A second Close does nothing.
func (c *Cache) Close() error {
	c.mu.Lock()
	c.closed = true
	if c.large != nil {
		c.remove(c.large)
	}
	c.mu.Unlock()
	c.group.Close()
	return nil
}

// Has returns the size of the file of a key. The file may still turn out to be wrong.
func (c *Cache) Has(key string) (size int64, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.entries[key]; e != nil {
		return e.size, true
	}
	return 0, false
}

// Filling tells whether a key is being filled from a source, and the size; -1 if it is not known yet.
func (c *Cache) Filling(key string, from any) (size int64, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.fills[fillKey{key, from}]
	if f == nil {
		return -1, false
	}
	return f.Size(), true
}

// Stats counts.
func (c *Cache) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.stats
	s.Files = len(c.entries)
	return s
}

// Open returns the file of a key, verified, which the caller closes. The error matches [ErrAbsent] if there is none, and
// [fs.ErrClosed] after Close. Other errors are about the disk and match no kind of package fs; they leave the file alone.
func (c *Cache) Open(ctx context.Context, key string) (*File, error) {
	const tries = 4
	for try := 1; ; try++ {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		e, err := c.pin(key)
		if err != nil {
			return nil, err
		}
		f, err := c.openEntry(e)
		if err == nil {
			return f, nil
		}
		c.unpin(e, nil)
		if errors.Is(err, errVerify) {
			err = c.verify(ctx, e)
		}
		if err != nil && !errors.Is(err, ErrAbsent) {
			return nil, c.failed(err)
		}
		if try == tries {
			return nil, fmt.Errorf("%s: %w again and again", key, ErrChanged)
		}
	}
}

// errVerify is about a file that this process has not verified in its present state.
var errVerify = errors.New("not verified")

// openEntry opens the file of a pinned entry, if it is verified.
func (c *Cache) openEntry(e *entry) (*File, error) {
	file, err := c.open(c.Path(e.key))
	if err != nil {
		if err := c.harmed(e); err != nil {
			return nil, c.lose(e, err)
		}
		return nil, ownError(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if e.stamp.Changed(file) != "" {
		file.Close()
		return nil, errVerify
	}
	c.stats.Hits++
	return &File{cache: c, handle: &handle{file: file}, entry: e, stamp: e.stamp, size: e.size}, nil
}

// failed is the error that a caller gets.
func (c *Cache) failed(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil && c.closed {
		return errClosed // the contexts of the callers have not ended
	}
	return err
}

// Get returns the file of a key: the kept one, as Open does, or the one that fill writes. fill runs once for all callers with the
// same key and the same source (from, which must be comparable); it outlives them, by the rule of package flight for work
// without a waiter. Get returns as soon as fill announces the size. An error of fill reaches all its callers as it is.
func (c *Cache) Get(ctx context.Context, key string, from any, fill Filler) (*File, error) {
	for {
		f, err := c.Open(ctx, key)
		if !errors.Is(err, ErrAbsent) {
			return f, err
		}
		if f, err = c.join(ctx, fillKey{key, from}, fill); f == nil && err == nil {
			continue // another fill has ended
		}
		if err == nil {
			if err = f.fill.await(ctx, func() bool { return f.fill.handle != nil }); err == nil {
				return f, nil
			}
			f.Close()
		}
		if !flight.Again(ctx, err) {
			return nil, err
		}
	}
}

// Remove removes the file of a key. Who reads it goes on reading.
func (c *Cache) Remove(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.entries[key]; e != nil {
		c.remove(e)
	}
}

// ownError hides the kinds of an error about the cache's own files that could be taken for an answer about the content.
func ownError(err error) error {
	for _, kind := range []error{fs.ErrNotExist, fs.ErrPermission, fs.ErrInvalid, errors.ErrUnsupported} {
		if errors.Is(err, kind) {
			return fmt.Errorf("disk cache: %v", err)
		}
	}
	return fmt.Errorf("disk cache: %w", err)
}

func noSpace(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }
