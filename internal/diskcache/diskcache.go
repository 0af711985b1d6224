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
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"

	"github.com/nixreg/nixreg/internal/flight"
)

// Cache is safe for concurrent use, by one process at a time.
type Cache struct {
	index
	fills map[fillKey]*Fill // guarded by mu
}

type fillKey struct {
	key  string
	from any
}

// New opens the cache in a directory: it removes what a killed process left incomplete, and what exceeds Max. Files that the
// Layout does not name are left alone. No file is read. The caller closes the Cache.
func New(o Options) (*Cache, error) {
	if o.Dir == "" || o.Max < 0 {
		return nil, fmt.Errorf("disk cache in %q of %d bytes: %w", o.Dir, o.Max, fs.ErrInvalid)
	}
	o.Log = cmp.Or(o.Log, slog.New(slog.DiscardHandler))
	c := &Cache{fills: make(map[fillKey]*Fill), index: index{
		Options: o, entries: make(map[string]*entry), writeAt: (*os.File).WriteAt, freeSpace: freeSpace, open: openRegular,
	}}
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

// Touch counts as a use of a kept file, and tells whether there is one.
func (c *Cache) Touch(key string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entries[key]
	if e != nil {
		c.recent.MoveToFront(e.at)
	}
	return e != nil
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
	for _, e := range c.entries {
		if e.pins > 0 {
			s.InUse++
		}
	}
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
	return &File{cache: &c.index, handle: &handle{file: file}, entry: e, stamp: e.stamp, size: e.size}, nil
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

// join returns an open File of the fill of a key, which it starts if need be. It returns no File if the key is kept by now.
func (c *Cache) join(ctx context.Context, k fillKey, fill Filler) (*File, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, errClosed
	}
	f := c.fills[k]
	switch {
	case f != nil:
		f.job.Enter(ctx)
	case c.entries[k.key] != nil:
		return nil, nil
	default:
		f = &Fill{cache: &c.index, key: k.key, refs: 1, keep: true, size: -1}
		job, err := c.group.Go(ctx, "fill/"+k.key, func(ctx context.Context) error { return c.run(ctx, k, f, fill) })
		if err != nil {
			return nil, err
		}
		f.job = job
		c.fills[k] = f
		c.stats.Fills++
	}
	f.refs++
	return &File{cache: &c.index, fill: f, ctx: ctx, size: -1}, nil
}

// run fills f and gives it its name. That it cannot be kept is no error: its readers have their bytes.
func (c *Cache) run(ctx context.Context, k fillKey, f *Fill, fill Filler) error {
	defer f.end(func() { delete(c.fills, k) })
	if err := fill(ctx, f); err != nil {
		return err
	}
	if f.handle == nil || f.size >= 0 && f.written != f.size {
		return fmt.Errorf("%s: %d bytes of %d: %w", f.key, f.written, f.size, ErrSize)
	}
	f.tell(func() { f.size, f.whole = f.written, true })
	if err := f.commit(f.key); err != nil {
		c.Log.Warn("disk cache: file is not kept", "file", c.Path(f.key), "err", err)
	}
	return nil
}

// Create returns a Fill whose key is known only when its bytes are. The caller ends it with Commit or Discard, once.
func (c *Cache) Create() (*Fill, error) {
	f := &Fill{cache: &c.index, refs: 1, keep: true, size: -1}
	if err := f.Announce(-1); err != nil {
		return nil, c.failed(err)
	}
	return f, nil
}
