package blobs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"runtime"
	"sync/atomic"

	"github.com/nixreg/nixreg/internal/filestamp"
)

// maxTries is how often a blob is looked for that changes meanwhile.
const maxTries = 4

// Blob is one blob of known size, safe for concurrent use. One that is not kept, or not yet, holds its file open until it
// is written for the first time, or forgotten; any other holds nothing.
type Blob struct {
	origin *Origin
	key    key
	size   int64
	fetch  Fetch
	flight *flight // the fetch that the size is from; may be nil, and may have ended
	once   atomic.Pointer[hold]
}

// hold is a reference to a flight.
type hold struct {
	flight *flight
	drop   runtime.Cleanup // if the Blob is forgotten
}

// hold keeps f for the first WriteRange: it may have ended by then, and be fetched again for nothing.
func (b *Blob) hold(f *flight) {
	b.once.Store(&hold{f, runtime.AddCleanup(b, b.origin.leave, f)})
}

// held gives f to the caller, who releases it, if there is one.
func (b *Blob) held() *flight {
	h := b.once.Swap(nil)
	if h == nil {
		return nil
	}
	h.drop.Stop()
	runtime.KeepAlive(b) // else it may be dropped nevertheless
	return h.flight
}

// Size is the length in bytes.
func (b *Blob) Size() int64 { return b.size }

// WriteRange writes n bytes from offset off on; a range that does not lie within Size gives an error matching
// [fs.ErrInvalid]. While the blob is being fetched, its bytes are written as they arrive, but for the last one of the
// range: that one is written when the whole blob is verified. So after an error there are too few of them, and they may
// be wrong. A large range of what is verified already goes to w as an [io.LimitedReader] right over an [os.File]; its last
// bytes are held back until the file was looked at once more.
//
// A blob that is neither kept nor on its way any more, as one that is too large to be kept, is fetched again, as long as
// nothing has been written; but a fetch that has failed is not begun again for this Blob. The errors are those of
// [Origin.Blob], and w's own.
func (b *Blob) WriteRange(ctx context.Context, w io.Writer, off, n int64) error {
	if off < 0 || n < 0 || off > b.size-n {
		return fmt.Errorf("blob %s: %d bytes from %d on, of %d: %w", b.key, n, off, b.size, fs.ErrInvalid)
	}
	if n == 0 {
		return ctx.Err()
	}
	for try := 1; ; try++ {
		done, err := b.write(ctx, w, off, n)
		if done > 0 || !errors.Is(err, errAgain) || try == maxTries {
			return err
		}
	}
}

func (b *Blob) write(ctx context.Context, w io.Writer, off, n int64) (done int64, err error) {
	a := ask{want: b.size, most: -1, after: b.flight}
	found := find{flight: b.held()}
	if found.flight == nil {
		if found, err = b.origin.open(ctx, b.key, a, b.fetch); err != nil {
			return 0, err
		}
	}
	defer b.origin.close(ctx, found)
	if b.origin.ctx.Err() != nil {
		return 0, errClosed
	}
	return b.origin.send(ctx, w, found, off, n, a)
}

// send writes a range of what has been found.
func (c *Cache) send(ctx context.Context, w io.Writer, found find, off, n int64, a ask) (done int64, err error) {
	unchanged := func() error { return c.unchanged(found) }
	if found.file != nil {
		done, err := filestamp.WriteRange(ctx, w, found.file, off, n, unchanged)
		if err != nil {
			err = fmt.Errorf("blob %s: %w", found.key, err)
		}
		return done, err
	}
	bp := c.buffers.Get().(*[]byte)
	defer c.buffers.Put(bp)
	return found.flight.writeRange(ctx, w, off, n, a, *bp, unchanged)
}

// unchanged returns an error if the file of what has been found is not what was verified.
func (c *Cache) unchanged(found find) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	f, p := found.file, found.proof
	if found.flight != nil {
		f, p = found.flight.file, found.flight.proof
	}
	if p == nil {
		return nil
	}
	if how := p.state.Changed(f); how != "" {
		return fmt.Errorf("%w: its file: %s", errAgain, how)
	}
	return nil
}
