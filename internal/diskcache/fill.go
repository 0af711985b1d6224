package diskcache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/nixreg/nixreg/internal/filestamp"
	"github.com/nixreg/nixreg/internal/flight"
)

const (
	spaceTries = 3       // evictions for one write on a full disk
	spaceStep  = 1 << 20 // bytes that are evicted at once on a full disk, and that are written between two looks at its free space
)

// Filler writes the bytes of a key to f, and returns nil if they are right. It announces the size first, or -1 if it does not
// know the size. Filler may run on any goroutine.
type Filler func(ctx context.Context, f *Fill) error

// handle is a descriptor whose offset one reader at a time may use.
type handle struct {
	file   *os.File
	offset sync.Mutex
}

// Fill is a file that is being filled, while others may read what is there. One goroutine fills it.
type Fill struct {
	cache *index
	key   string
	job   *flight.Job // nil for a Fill of Create

	// These are guarded by Cache.mu.
	refs  int // open Files, and the filler
	entry *entry
	stamp filestamp.Stamp // of the file when it got its name; zero before
	grown int64           // bytes counted in Stats.Growing
	keep  bool            // it gets its name in the end
	spare int64           // up to where the free space of the disk was looked at

	mu      sync.Mutex // guards what follows
	news    chan struct{}
	handle  *handle // nil until the size is announced
	size    int64   // -1 while it is not known
	written int64
	whole   bool // all bytes are there and right
}

// end removes the file of f if it has got no name. It calls also with mu held.
func (f *Fill) end(also func()) {
	c := f.cache
	c.mu.Lock()
	also()
	c.stats.Growing -= f.grown
	f.grown, f.keep = 0, false
	if f.entry == nil && f.handle != nil {
		_ = os.Remove(f.handle.file.Name()) // who reads it goes on reading
	}
	c.mu.Unlock()
	c.release(f)
}

// release ends a reference to f.
func (c *index) release(f *Fill) {
	c.mu.Lock()
	f.refs--
	last, e := f.refs == 0, f.entry
	c.mu.Unlock()
	if e != nil {
		c.unpin(e, nil)
	}
	if last && f.handle != nil {
		f.handle.file.Close()
	}
}

// Commit makes the bytes the file of key.
func (f *Fill) Commit(key string) error {
	defer f.end(func() {})
	f.cache.mu.Lock()
	f.cache.stats.Fills++
	f.cache.mu.Unlock()
	f.size = f.written
	return f.commit(key)
}

// Discard removes the bytes.
func (f *Fill) Discard() { f.end(func() {}) }

// Announce makes the file, for so many bytes; -1 if the size is not known.
func (f *Fill) Announce(size int64) error {
	c := f.cache
	c.mu.Lock()
	closed := c.closed
	c.mu.Unlock()
	if closed { // its readers would get a file that is never filled
		return errClosed
	}
	temp := filepath.Join(c.Dir, filepath.FromSlash(c.Layout.Incomplete))
	dir, pattern := filepath.Split(temp)
	file, err := os.CreateTemp(dir, pattern)
	if errors.Is(err, fs.ErrNotExist) && os.MkdirAll(dir, 0o700) == nil { // somebody has removed it
		file, err = os.CreateTemp(dir, pattern)
	}
	if err != nil {
		return ownError(err)
	}
	f.tell(func() { f.handle, f.size = &handle{file: file}, size })
	return nil
}

// Size is the announced size; -1 if it is not known yet.
func (f *Fill) Size() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.size
}

// Written is how many bytes were written.
func (f *Fill) Written() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.written
}

// Write appends bytes. Files are evicted for them, within Max and on a full disk. An error matches ErrSize, ENOSPC, or no kind of
// package fs.
func (f *Fill) Write(p []byte) (int, error) {
	n := int64(len(p))
	if f.size >= 0 && f.written+n > f.size {
		return 0, fmt.Errorf("%s: more than %d bytes: %w", f.key, f.size, ErrSize)
	}
	if err := f.grow(n); err != nil {
		return 0, err
	}
	for try := 0; ; try++ {
		_, err := f.cache.writeAt(f.handle.file, p, f.written)
		if err == nil {
			f.tell(func() { f.written += n })
			return len(p), nil
		}
		if !noSpace(err) || try == spaceTries || !f.makeSpace(max(n, min(spaceStep, f.size-f.written))) {
			return 0, ownError(err)
		}
	}
}

// grow makes place for the next n bytes.
func (f *Fill) grow(n int64) error {
	c := f.cache
	c.mu.Lock()
	if max(f.size, f.written+n) > c.Max {
		c.stats.Growing -= f.grown
		f.grown = 0
	} else if f.keep {
		f.grown += n
		c.stats.Growing += n
		c.evict(c.stats.Bytes+c.stats.Growing-c.Max, false)
	}
	c.unlock()
	if c.Spare == 0 || f.written+n <= f.spare {
		return nil
	}
	for {
		free, err := c.freeSpace(c.Dir)
		switch {
		case err != nil || free-n >= c.Spare: // a disk that does not tell is written to
			f.spare = f.written + max(n, spaceStep)
			return nil
		case f.makeSpace(c.Spare + n - free):
			continue
		case free-n < c.Spare/2:
			return fmt.Errorf("disk cache: %d MB are free: %w", free>>20, syscall.ENOSPC)
		}
		c.mu.Lock()
		f.keep = false
		c.mu.Unlock()
		return nil
	}
}

// makeSpace evicts n bytes for f, and tells whether there were any. A file that will not be kept has no right to the place
// of others, and a cache without a bound evicts nothing.
func (f *Fill) makeSpace(n int64) bool {
	c := f.cache
	c.mu.Lock()
	defer c.unlock()
	if !f.keep || max(f.size, f.written) > c.Max || c.Max == math.MaxInt64 {
		return false
	}
	return c.evict(n, true)
}

// commit gives the file its name, and verified.
func (f *Fill) commit(key string) error {
	c, file := f.cache, f.handle.file
	if c.Sync && f.written <= c.Max {
		if err := file.Sync(); err != nil {
			return ownError(err)
		}
	}
	name := c.Path(key)
	c.mu.Lock()
	defer c.unlock()
	switch {
	case c.closed:
		return errClosed
	case !f.keep:
		return errors.New("the disk is full")
	}
	err := os.Rename(file.Name(), name)
	if err != nil { // somebody has removed the directory, or put another one in the place of the file
		_ = os.Remove(name) // only if it is empty
		err = errors.Join(os.MkdirAll(filepath.Dir(name), 0o700), os.Rename(file.Name(), name))
	}
	if err != nil {
		return ownError(err)
	}
	then := time.Now().Add(-past)
	_ = os.Chtimes(name, then, then)
	e := &entry{key: key, size: f.written, used: then.Unix(), saved: then.Unix(), pins: f.refs}
	if info, err := file.Stat(); err == nil && info.Size() == e.size { // else it is verified at its next use
		e.stamp, _ = filestamp.Of(info)
	}
	f.stamp = e.stamp
	c.stats.Growing -= f.grown
	f.grown, f.entry = 0, e
	c.insert(e)
	c.evict(c.stats.Bytes+c.stats.Growing-c.Max, false)
	return nil
}

// tell changes f and wakes those who wait for it.
func (f *Fill) tell(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
	if f.news != nil {
		close(f.news)
		f.news = nil
	}
}

// await waits until a condition holds, which is called with f locked. If f ends before, the error is that of the filler.
func (f *Fill) await(ctx context.Context, until func() bool) error {
	for ended := false; ; {
		f.mu.Lock()
		ok := until()
		if f.news == nil {
			f.news = make(chan struct{})
		}
		news := f.news
		f.mu.Unlock()
		if ok {
			return nil
		}
		if ended {
			return f.cache.failed(f.job.Err())
		}
		select {
		case <-news:
		case <-f.job.Done():
			ended = true
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// freeSpace is how many bytes are free for dir.
func freeSpace(dir string) (int64, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0, err
	}
	return int64(st.Bavail) * int64(st.Bsize), nil
}
