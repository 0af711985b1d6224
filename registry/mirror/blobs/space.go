package blobs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
)

const (
	// maxRetries is how often room is made for one piece of a blob when the disk is full.
	maxRetries = 3
	// makeStep is how much room is made at once on a full disk, and how much is written between looks at its free space.
	makeStep = 1 << 20
	// spareSpace is how many bytes the cache leaves free on its disk, where others, too, write: what would take of them
	// is not kept. Of what is left, passing blobs may take a half.
	spareSpace = 128 << 20
)

// freeSpace is how many bytes are free for dir.
func freeSpace(dir string) (int64, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0, err
	}
	return int64(st.Bavail) * int64(st.Bsize), nil
}

// reserve sets n bytes aside for f, the whole of it, and waits for them if need be. What is larger than the cache is not
// kept, and waits until no other such blob is on the disk.
func (c *Cache) reserve(ctx context.Context, f *flight, n int64) error {
	if n > c.room.limit {
		return c.pass(ctx, f, n)
	}
	return c.claim(ctx, f, c.room, n)
}

// pass makes f one of at most n bytes that is not kept. One that passes waits for nothing any more, so that it comes to
// an end; who waits here may have a share of the room for what is kept.
func (c *Cache) pass(ctx context.Context, f *flight, n int64) error {
	if err := c.claim(ctx, f, c.passage, min(n, c.passage.limit)); err != nil {
		return err
	}
	c.setPassing(f)
	return nil
}

func (c *Cache) setPassing(f *flight) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f.passing = true
}

// place makes place on the disk for the n bytes of f that come next. Blobs go only now: a size that an origin says is
// no reason.
func (c *Cache) place(ctx context.Context, f *flight, n int64) error {
	gone, ok := c.arrive(f, n)
	c.unlink(gone)
	if !ok { // it turns out to be too large, beside what others have set aside
		most := c.passage.limit
		if f.ask.most >= 0 {
			most = f.ask.most
		}
		if err := c.pass(ctx, f, most); err != nil {
			return err
		}
	}
	return c.spare(f, n)
}

// arrive counts n more bytes of f, and names the files that make place for them. A blob of unsaid size has as much set
// aside as has come; there may be no more.
func (c *Cache) arrive(f *flight, n int64) (gone []string, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.share.of == c.passage {
		return nil, true
	}
	if more := f.arrived + n - f.share.n; more > 0 {
		if !c.room.take(more) {
			return nil, false
		}
		f.share = share{c.room, f.share.n + more}
	}
	f.arrived += n
	c.index.growing += n
	return c.index.evict(c.index.max), true
}

// spare keeps spareSpace free beside the next n bytes of f. If blobs that go are not enough, f is not kept either.
func (c *Cache) spare(f *flight, n int64) error {
	if f.written+n <= f.looked {
		return nil
	}
	for {
		free, err := c.freeSpace(c.index.dir)
		if err != nil || free-n >= spareSpace {
			f.looked = f.written + max(n, makeStep)
			return nil // a disk that does not tell is written to
		}
		if c.makeRoom(f, spareSpace+n-free) {
			continue
		}
		c.setPassing(f)
		if free-n < spareSpace/2 {
			return fmt.Errorf("blob %s: %d MB are free: %w", f.key, free>>20, ownError(syscall.ENOSPC))
		}
		return nil
	}
}

// write writes p at off. When the disk is full, blobs that were used least recently make room, unless it is for
// something that would not be kept.
func (c *Cache) write(f *flight, file *os.File, p []byte, off int64) error {
	for try := 0; ; try++ {
		_, err := c.writeAt(file, p, off)
		if err == nil {
			return nil
		}
		need := max(int64(len(p)), min(makeStep, f.share.n-off))
		if !noSpace(err) || try == maxRetries || !c.makeRoom(f, need) {
			return ownError(err)
		}
	}
}

// makeRoom removes blobs of n bytes for f, and tells whether there were any.
func (c *Cache) makeRoom(f *flight, n int64) bool {
	gone := c.evictFor(f, n)
	c.unlink(gone)
	return len(gone) > 0
}

func (c *Cache) evictFor(f *flight, n int64) (gone []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.passing {
		return nil
	}
	return c.index.evict(c.index.size + c.index.growing - n)
}

// unlink removes files that have no blob's name any more. That may take long, so the lock is not held.
func (c *Cache) unlink(gone []string) {
	for _, path := range gone {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			c.log.Warn("file is not removed", "file", path, "err", err)
		}
	}
}
