package blobs

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/nixreg/nixreg/internal/diskcache"
	"github.com/nixreg/nixreg/internal/flight"
)

const (
	defaultFetches = 16
	bufferSize     = 128 << 10
	// maxUnknown bounds a blob whose origin does not announce the size.
	maxUnknown = 10 << 30
)

var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// Fetch opens a blob at its origin. The cache reads the body to its end and closes it; size is -1 if the origin does not announce
// it. Once ctx ends, Read must return soon. The error of either reaches all who wait for the blob as it is.
type Fetch func(ctx context.Context) (body io.ReadCloser, size int64, err error)

// Origin is a place that blobs come from, with fetches of its own: a slow origin keeps no other waiting, and its errors reach only
// those who asked it. A kept blob is the Cache's, from wherever it came. Safe for concurrent use.
type Origin struct {
	*Cache
	fetches flight.Queue
}

// Origin returns a new origin, for as long as the Cache is open, of which no more than so many fetches run at once; 0 is 16.
func (c *Cache) Origin(fetches int) *Origin {
	return &Origin{Cache: c, fetches: flight.Queue{Running: cmp.Or(max(fetches, 0), defaultFetches), Drop: true}}
}

// Fetching tells whether a blob is being fetched from this origin, and the size that the origin announced; -1 if it has not yet.
func (o *Origin) Fetching(d v1.Hash) (size int64, ok bool) {
	key, err := parse(d)
	if err != nil {
		return -1, false
	}
	return o.files.Filling(key, o)
}

// Blob returns the blob d: the kept one, or the one that is being fetched from this origin, now or from now on. It returns when
// the size is known; for a size that the origin does not announce, when all bytes are there. A fetch outlives its callers, by the
// rule of package flight for work without a waiter. It begins when there is a slot, and brings its bytes when they fit on the disk
// beside those of the other fetches. A Blob that was not read yet is a waiter.
//
// A digest that is not SHA-256 gives an error matching [fs.ErrInvalid], a closed Cache one matching [fs.ErrClosed]. A nil fetch
// stands for an origin that has nothing. Other errors are those of fetch, or about the disk, which match none of the kinds in
// package fs; with too many files open, they match [syscall.EMFILE] or [syscall.ENFILE].
func (o *Origin) Blob(ctx context.Context, d v1.Hash, fetch Fetch) (*Blob, error) {
	key, err := parse(d)
	if err != nil {
		return nil, err
	}
	b := &Blob{origin: o, digest: d, key: key, size: -1, fetch: fetch}
	f, err := b.get(ctx)
	if err != nil {
		return nil, err
	}
	b.size = f.Size()
	if f.Kept() && b.size <= o.files.Max {
		f.Close()
	} else {
		b.followed = f
		b.hold(f)
	}
	return b, nil
}

// fill fetches a blob into a file, and verifies it.
func (o *Origin) fill(ctx context.Context, f *diskcache.Fill, d v1.Hash, fetch Fetch) error {
	release, err := o.fetches.Acquire(ctx)
	if err != nil {
		return err
	}
	defer release()
	body, size, err := fetch(ctx)
	if err != nil {
		return err
	}
	defer body.Close()
	free, err := o.reserve(ctx, size)
	if err != nil {
		return err
	}
	defer free()
	if err := f.Announce(max(size, -1)); err != nil {
		return err
	}
	buf := buffers.Get().(*[bufferSize]byte)
	defer buffers.Put(buf)
	h := sha256.New()
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, rerr := body.Read(buf[:])
		if f.Written()+int64(n) > maxUnknown && size < 0 {
			return fmt.Errorf("%w: more than %d bytes", ErrContent, int64(maxUnknown))
		}
		h.Write(buf[:n])
		if _, err := f.Write(buf[:n]); errors.Is(err, diskcache.ErrSize) {
			return fmt.Errorf("%w: more than %d bytes", ErrContent, size)
		} else if err != nil {
			return err
		}
		if rerr == io.EOF {
			break
		}
		if rerr != nil {
			return rerr
		}
	}
	if size >= 0 && f.Written() != size {
		return fmt.Errorf("%w: %d bytes of %d", ErrContent, f.Written(), size)
	}
	if got := fmt.Sprintf("%x", h.Sum(nil)); got != d.Hex {
		return fmt.Errorf("%w: digest sha256:%s", ErrContent, got)
	}
	return nil
}

// reserve waits until n bytes fit on the disk beside those of the other fetches; -1 stands for an unknown number. A blob that will
// not be kept waits for others like it.
func (o *Origin) reserve(ctx context.Context, n int64) (free func(), err error) {
	if n < 0 {
		n = min(o.files.Max/4, maxUnknown)
	}
	if n > o.files.Max || o.files.Max == 0 {
		return o.passing.AcquireWeight(ctx, int(n))
	}
	return o.space.AcquireWeight(ctx, int(n))
}
