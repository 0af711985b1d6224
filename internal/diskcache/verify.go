package diskcache

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"syscall"

	"github.com/nixreg/nixreg/internal/filestamp"
	"github.com/nixreg/nixreg/internal/flight"
)

const (
	maxChecks      = 8       // files that are verified at once
	maxSmallChecks = 64      // small files, beside those
	smallSize      = 4 << 20 // up to where a file is small: small files do not wait for large ones
	bufferSize     = 128 << 10
)

var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// harmed returns what is wrong with the file of e as far as its name tells; nil if that is nothing, or cannot be told now.
func (c *index) harmed(e *entry) error {
	info, err := os.Lstat(c.Path(e.key))
	switch {
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR):
		return errors.New("it is gone")
	case err != nil:
		return nil
	case !info.Mode().IsRegular():
		return errors.New("it is no regular file")
	case info.Size() != e.size:
		return fmt.Errorf("it has %d bytes, not %d", info.Size(), e.size)
	}
	return nil
}

// lose removes a file that is wrong.
func (c *index) lose(e *entry, why error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e.at != nil {
		c.Log.Warn("a kept file is damaged: it is removed, and made again when it is needed", "file", c.Path(e.key), "because", why)
		c.remove(e)
	}
	return fmt.Errorf("%s: %w: %v", e.key, ErrAbsent, why)
}

// verify reads the file of e to its end, once for all callers, and removes a wrong one. An error that does not match ErrAbsent
// says nothing about the file.
func (c *index) verify(ctx context.Context, e *entry) error {
	_, err := flight.Once(ctx, c.group, "verify/"+e.key, func(ctx context.Context) (struct{}, error) {
		queue := &c.checks[0]
		if e.size > smallSize {
			queue = &c.checks[1]
		}
		release, err := queue.Acquire(ctx)
		if err != nil {
			return struct{}{}, err
		}
		defer release()
		if now, err := filestamp.Stat(c.Path(e.key)); err == nil && c.isVerified(e, now) {
			return struct{}{}, nil // by an earlier call
		}
		stamp, err := c.check(ctx, e)
		if harm := (harmError{}); errors.As(err, &harm) {
			return struct{}{}, c.lose(e, harm)
		}
		if err != nil {
			return struct{}{}, err
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		e.stamp = stamp
		return struct{}{}, nil
	})
	return err
}

func (c *index) isVerified(e *entry, now filestamp.Stamp) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return now == e.stamp
}

// harmError is about a file whose bytes are wrong or cannot be read.
type harmError struct{ error }

// check reads the file of e to its end and returns its stamp.
func (c *index) check(ctx context.Context, e *entry) (stamp filestamp.Stamp, err error) {
	file, err := c.openBackdated(e)
	if errors.Is(err, ErrAbsent) {
		return stamp, err
	}
	if err != nil {
		if harm := c.harmed(e); harm != nil {
			return stamp, harmError{harm}
		}
		return stamp, ownError(err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return stamp, ownError(err)
	}
	if stamp, _ = filestamp.Of(info); stamp.Size != e.size {
		return stamp, harmError{fmt.Errorf("it has %d bytes, not %d", stamp.Size, e.size)}
	}
	r := &checkedReader{ctx: ctx, r: io.LimitReader(file, e.size)}
	verify := c.Verify
	if verify == nil {
		verify = c.compareSum
	}
	err = verify(ctx, e.key, r)
	switch {
	case ctx.Err() != nil:
		return stamp, ctx.Err()
	case r.err != nil && !errors.Is(r.err, syscall.EIO): // EIO is about these bytes, other errors are not
		return stamp, ownError(r.err)
	case err != nil:
		return stamp, harmError{err}
	}
	if how := stamp.Changed(file); how != "" {
		return stamp, harmError{fmt.Errorf("while it was read: %s", how)}
	}
	return stamp, nil
}

// openBackdated opens the file of e, which a verification may date back. The file of another entry with the same key keeps its
// times: its readers would take new ones for a change.
func (c *index) openBackdated(e *entry) (*os.File, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e.at == nil {
		return nil, fmt.Errorf("%s: %w", e.key, ErrAbsent)
	}
	name := c.Path(e.key)
	filestamp.Backdate(name)
	return c.open(name)
}

// compareSum compares the SHA-256 of the bytes with that of the key.
func (c *index) compareSum(_ context.Context, key string, r io.Reader) error {
	want, _ := c.Layout.Sum(key)
	buf := buffers.Get().(*[bufferSize]byte)
	defer buffers.Put(buf)
	h := sha256.New()
	if _, err := io.CopyBuffer(h, r, buf[:]); err != nil {
		return err
	}
	if got := [sha256.Size]byte(h.Sum(nil)); got != want {
		return fmt.Errorf("its bytes have the SHA-256 %x", got)
	}
	return nil
}

// checkedReader fails when the context ends, and remembers the error of reading.
type checkedReader struct {
	ctx context.Context
	r   io.Reader
	err error
}

func (c *checkedReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := c.r.Read(p)
	if err != nil && err != io.EOF {
		c.err = err
	}
	return n, err
}
