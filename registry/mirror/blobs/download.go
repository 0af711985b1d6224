package blobs

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
)

// maxUnsaid bounds a blob of which neither origin nor caller knows the size.
const maxUnsaid = 10 << 30

// download brings a blob from its origin into a file, and keeps it. A size that the caller knows is set aside before the
// origin is asked, so that no body is open while f waits.
func (c *Cache) download(ctx context.Context, f *flight, fetch Fetch) error {
	if f.ask.want >= 0 {
		if err := c.reserve(ctx, f, f.ask.want); err != nil {
			return err
		}
	}
	body, said, err := fetch(ctx)
	if err != nil {
		return err
	}
	defer body.Close()
	if err := c.prepare(ctx, f, said); err != nil {
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
func (c *Cache) prepare(ctx context.Context, f *flight, said int64) error {
	size, guessed := said, said < 0
	if guessed {
		size = f.ask.want
	} else if err := f.ask.admits(f.key, said); err != nil {
		return err
	}
	if f.ask.want < 0 && size >= 0 {
		if err := c.reserve(ctx, f, size); err != nil {
			return err
		}
	}
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
			if err := c.grow(ctx, f, p); err != nil {
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
func (c *Cache) grow(ctx context.Context, f *flight, p []byte) error {
	end := f.written + int64(len(p))
	switch {
	case f.size >= 0 && end > f.size:
		return f.wrongLength("more than %d bytes", f.size)
	case f.size < 0 && f.ask.most >= 0 && end > f.ask.most:
		return f.wrongLength("more than %d bytes", f.ask.most)
	case f.size < 0 && end > maxUnsaid:
		return f.wrongLength("more than %d bytes", maxUnsaid)
	}
	if err := c.place(ctx, f, int64(len(p))); err != nil {
		return err
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

// keep gives the verified file of f its name, once its bytes are on the disk.
func (c *Cache) keep(f *flight) error {
	if err := f.file.Sync(); err != nil {
		return ownError(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	e, err := c.index.keep(f.key, f.size, f.file)
	if err != nil {
		return err
	}
	f.proof = e.seen
	c.setFree(f)
	return nil
}
