package blobs

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"github.com/nixreg/nixreg/internal/filestamp"
)

// errDamage is about a kept file that has not the bytes of its blob. That it cannot be read is none.
var errDamage = errors.New("damaged on disk")

// readThrough verifies a kept blob that this process knows nothing of. Readers follow it as they follow a download.
func (c *Cache) readThrough(ctx context.Context, f *flight) error {
	fi, err := f.file.Stat()
	if err != nil {
		return fmt.Errorf("blob %s: %w", f.key, ownError(err))
	}
	begun := stampOf(fi)
	if err := c.hash(ctx, f); err != nil {
		if !errors.Is(err, errDamage) {
			return fmt.Errorf("blob %s: %w", f.key, err)
		}
		return c.lose(f, err)
	}
	if !c.trust(f, begun) {
		return fmt.Errorf("blob %s: %w: while it was read through", f.key, errAgain)
	}
	f.tell(func() { f.verified = true })
	return nil
}

func (c *Cache) hash(ctx context.Context, f *flight) error {
	bp := c.buffers.Get().(*[]byte)
	defer c.buffers.Put(bp)
	h := sha256.New()
	for f.written < f.size {
		if err := ctx.Err(); err != nil {
			return err
		}
		p := (*bp)[:min(int64(len(*bp)), f.size-f.written)]
		if err := readAt(f.file, p, f.written); errors.Is(err, io.ErrUnexpectedEOF) {
			return fmt.Errorf("%w: shorter than %d bytes", errDamage, f.size)
		} else if err != nil {
			return err // may be right the next time
		}
		h.Write(p)
		f.tell(func() { f.written += int64(len(p)) })
	}
	if sum := key(h.Sum(nil)); sum != f.key {
		return fmt.Errorf("%w: digest %s", errDamage, sum)
	}
	return nil
}

// trust remembers the file of f as verified, if it is the same as before it was read. One that has gone meanwhile, for
// lack of space, is as good as it was.
func (c *Cache) trust(f *flight, begun filestamp.Stamp) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.index.kept[f.key] != f.entry {
		return true
	}
	fi, err := f.file.Stat()
	if err != nil || fi.Size() != f.size || stampOf(fi) != begun {
		return false
	}
	f.entry.seen = &proof{begun}
	f.proof = f.entry.seen
	c.index.use(f.entry, f.file)
	return true
}

// lose removes the damaged blob of f, and says so: there may be no reader who does. Who has no byte of it yet looks for
// another.
func (c *Cache) lose(f *flight, err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.log.Warn("blob is damaged, and removed", "digest", f.key, "err", err)
	if c.index.kept[f.key] == f.entry {
		c.index.remove(f.entry)
	}
	return fmt.Errorf("blob %s: %w: %v", f.key, errAgain, err)
}
