package blobs

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
)

const (
	// maxUnsaid bounds a blob of which neither origin nor caller knows the size.
	maxUnsaid = 10 << 30
	// maxRetries is how often room is made for one piece of a blob when the disk is full.
	maxRetries = 3
)

// download brings a blob from its origin into a file, and keeps it.
func (c *Cache) download(ctx context.Context, f *flight, fetch Fetch) error {
	body, said, err := fetch(ctx)
	if err != nil {
		return err
	}
	defer body.Close()
	if err := c.prepare(f, said); err != nil {
		return err
	}
	kept := false
	defer func() {
		if !kept {
			_ = os.Remove(f.file.Name()) // who reads it goes on reading
		}
	}()
	if err := c.fill(ctx, f, body); err != nil || f.passing {
		return err
	}
	if err := c.keep(f); err != nil { // the readers have their bytes all the same
		c.log.Warn("blob is not kept", "digest", f.key, "err", err)
		return nil
	}
	kept = true
	return nil
}

// prepare makes the file of f, for a blob of the size that its origin says, if it does.
func (c *Cache) prepare(f *flight, said int64) error {
	size, guessed := said, said < 0
	if guessed {
		size = f.ask.want
	} else if err := f.ask.admits(f.key, said); err != nil {
		return err
	}
	c.reserve(f, max(size, 0))
	file, err := createTemp(c.index.dir)
	if err != nil {
		return fmt.Errorf("blob %s: %w", f.key, err)
	}
	f.tell(func() { f.file, f.size, f.guessed = file, size, guessed })
	return nil
}

// fill copies the body into the file of f, and verifies it.
func (c *Cache) fill(ctx context.Context, f *flight, body io.Reader) error {
	bp := c.buffers.Get().(*[]byte)
	defer c.buffers.Put(bp)
	h := sha256.New()
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := body.Read(*bp)
		if n > 0 {
			p := (*bp)[:n]
			if err := c.grow(f, p); err != nil {
				return err
			}
			h.Write(p)
			f.tell(func() { f.written += int64(n) })
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	return f.verify(key(h.Sum(nil)))
}

// grow appends p to the file of f. Only the flight's own goroutine changes written and size, so it reads them as they
// are.
func (c *Cache) grow(f *flight, p []byte) error {
	end := f.written + int64(len(p))
	switch {
	case f.size >= 0 && end > f.size:
		return f.wrongLength("more than %d bytes", f.size)
	case f.size < 0 && f.ask.most >= 0 && end > f.ask.most:
		return f.wrongLength("more than %d bytes", f.ask.most)
	case f.size < 0 && end > maxUnsaid:
		return f.wrongLength("more than %d bytes", maxUnsaid)
	case f.size < 0:
		c.reserve(f, int64(len(p)))
	}
	if err := c.write(f, f.file, p, f.written); err != nil {
		return fmt.Errorf("blob %s: %w", f.key, err)
	}
	return nil
}

func (f *flight) wrongLength(format string, n int64) error {
	kind := ErrContent
	if f.guessed {
		kind = errAsk
	}
	return fmt.Errorf("blob %s: %w: "+format, f.key, kind, n)
}

// verify lets readers have the last byte if the bytes are right.
func (f *flight) verify(sum key) error {
	if f.size >= 0 && f.written != f.size {
		return f.wrongLength("fewer than %d bytes", f.size)
	}
	if sum != f.key {
		return fmt.Errorf("blob %s: %w: digest %s", f.key, ErrContent, sum)
	}
	f.tell(func() { f.size, f.verified = f.written, true })
	return nil
}

// reserve sets n more bytes aside for f. What is larger than the cache is not kept, and has nothing set aside.
func (c *Cache) reserve(f *flight, n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.passing || n > c.index.max-f.reserved {
		f.passing = true
		c.setFree(f)
		return
	}
	f.reserved += n
	c.index.growing += n
	c.index.evict(c.index.max)
}

// write writes p at off. When the disk is full, blobs that were used least recently make room, unless it is for
// something that would not be kept.
func (c *Cache) write(f *flight, file *os.File, p []byte, off int64) error {
	for try := 0; ; try++ {
		_, err := c.writeAt(file, p, off)
		if err == nil {
			return nil
		}
		if !noSpace(err) || try == maxRetries || !c.makeRoom(f, int64(len(p))) {
			return ownError(err)
		}
	}
}

// makeRoom removes blobs for n bytes, or for all that f still needs.
func (c *Cache) makeRoom(f *flight, n int64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.passing {
		return false
	}
	need := max(n, f.reserved-f.written)
	return c.index.evict(c.index.size+c.index.growing-need) > 0
}

// keep gives the verified file of f its name, once its bytes are on the disk.
func (c *Cache) keep(f *flight) error {
	if err := f.file.Sync(); err != nil {
		return ownError(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.setFree(f)
	if err := c.index.keep(f.key, f.size, f.file); err != nil {
		return err
	}
	c.index.evict(c.index.max)
	return nil
}

// setFree gives back what was set aside for f. The lock is held.
func (c *Cache) setFree(f *flight) {
	c.index.growing -= f.reserved
	f.reserved = 0
}
