package blobs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

const (
	// maxTries is how often a blob is looked for that changes meanwhile.
	maxTries = 4
	// piece is how much of a file is written before the context is asked.
	piece = 16 << 20
)

// Blob is one blob of known size. It holds nothing open, and is safe for concurrent use.
type Blob struct {
	cache  *Cache
	key    key
	size   int64
	fetch  Fetch
	flight *flight // that the size is from; may be nil, and may have ended
}

// Blob returns the blob d, which is kept, or being fetched, or is fetched from now on. It returns when the size is
// known, and for a size that nobody says, when all bytes are there. The fetch belongs to the Cache: once it has begun it
// goes on to its end whoever leaves.
//
// want is the size that the caller knows from elsewhere, -1 if none. A blob that has another, or is said to have another
// by its origin, gives an error matching [ErrContent]; a digest that is not sha256, one matching [fs.ErrInvalid]; a
// closed Cache, one matching [fs.ErrClosed]. A nil fetch stands for an origin that has nothing. Other errors are those
// of fetch, or about the disk, which match none of the kinds in package fs.
func (c *Cache) Blob(ctx context.Context, d v1.Hash, want int64, fetch Fetch) (*Blob, error) {
	return c.blob(ctx, d, ask{want: max(want, -1), most: -1}, fetch)
}

func (c *Cache) blob(ctx context.Context, d v1.Hash, a ask, fetch Fetch) (*Blob, error) {
	k, err := parseKey(d)
	if err != nil {
		return nil, err
	}
	for try := 1; ; try++ {
		size, f, err := c.size(ctx, k, a, fetch)
		if err == nil {
			return &Blob{cache: c, key: k, size: size, fetch: fetch, flight: f}, nil
		}
		if !errors.Is(err, errAgain) || try == maxTries {
			return nil, err
		}
	}
}

// size learns the size of a blob, which must be as the caller asks, and from which flight it is.
func (c *Cache) size(ctx context.Context, k key, a ask, fetch Fetch) (int64, *flight, error) {
	if err := ctx.Err(); err != nil {
		return 0, nil, err
	}
	found, err := c.find(k, a, fetch)
	if err != nil {
		return 0, nil, err
	}
	if found.file != nil {
		found.file.Close()
		return found.size, nil, a.admits(k, found.size)
	}
	defer c.release(found.flight)
	size, err := found.flight.agree(ctx, a)
	return size, found.flight, err
}

// Size is the length in bytes.
func (b *Blob) Size() int64 { return b.size }

// WriteRange writes n bytes from offset off on; a range that does not lie within Size gives an error matching
// [fs.ErrInvalid]. While the blob is being fetched, its bytes are written as they arrive, but for the last one of the
// range: that one is written when the whole blob is verified. So after an error there are too few of them, and they may
// be wrong. What is verified already goes to w as an [io.LimitedReader] right over an [os.File].
//
// A blob that is neither kept nor on its way any more, as one that is too large to be kept, is fetched again, as long as
// nothing has been written; but a fetch that has failed is not begun again for this Blob. The errors are those of
// [Cache.Blob], and w's own.
func (b *Blob) WriteRange(ctx context.Context, w io.Writer, off, n int64) error {
	if off < 0 || n < 0 || off > b.size-n {
		return fmt.Errorf("blob %s: %d bytes from %d on, of %d: %w", b.key, n, off, b.size, fs.ErrInvalid)
	}
	if n == 0 {
		return ctx.Err()
	}
	if err := b.failed(); err != nil && !errors.Is(err, errAgain) {
		return err
	}
	for try := 1; ; try++ {
		done, err := b.write(ctx, w, off, n)
		if done > 0 || !errors.Is(err, errAgain) || try == maxTries {
			return err
		}
	}
}

// failed returns the error of the fetch that the size is from.
func (b *Blob) failed() error {
	f := b.flight
	if f == nil {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.failure(ask{want: b.size, most: -1})
}

func (b *Blob) write(ctx context.Context, w io.Writer, off, n int64) (done int64, err error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	a := ask{want: b.size, most: -1}
	found, err := b.cache.find(b.key, a, b.fetch)
	if err != nil {
		return 0, err
	}
	if f := found.file; f != nil {
		defer f.Close()
		if err := a.admits(b.key, found.size); err != nil {
			return 0, err
		}
		done, err := writeFile(ctx, w, f, off, n)
		if err != nil {
			err = fmt.Errorf("blob %s: %w", b.key, err)
		}
		return done, err
	}
	f := found.flight
	defer b.cache.release(f)
	if _, err := f.agree(ctx, a); err != nil {
		return 0, err
	}
	bp := b.cache.buffers.Get().(*[]byte)
	defer b.cache.buffers.Put(bp)
	return f.writeRange(ctx, w, off, n, a, *bp)
}

// writeFile writes a piece of a file, by sendfile where w can.
func writeFile(ctx context.Context, w io.Writer, f *os.File, off, n int64) (done int64, err error) {
	if _, err := f.Seek(off, io.SeekStart); err != nil {
		return 0, ownError(err)
	}
	for done < n {
		if err := ctx.Err(); err != nil {
			return done, err
		}
		want := min(n-done, piece)
		m, err := io.Copy(w, &io.LimitedReader{R: f, N: want})
		done += m
		if err == nil && m < want {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// Bytes returns the whole of a small blob, verified. One of more than most bytes gives an error matching [ErrContent].
// Without fetch, only what is kept is returned; what is not gives an error matching [fs.ErrNotExist]. Otherwise it is
// like [Cache.Blob].
func (c *Cache) Bytes(ctx context.Context, d v1.Hash, most int64, fetch Fetch) ([]byte, error) {
	b, err := c.blob(ctx, d, ask{want: -1, most: max(most, 0)}, fetch)
	if err != nil {
		return nil, err
	}
	var buf bytes.Buffer
	buf.Grow(int(b.size) + bytes.MinRead)
	if err := b.WriteRange(ctx, &buf, 0, b.size); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}
