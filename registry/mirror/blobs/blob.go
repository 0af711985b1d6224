package blobs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"runtime"
	"sync/atomic"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/nixreg/nixreg/internal/diskcache"
	"github.com/nixreg/nixreg/internal/flight"
)

// Blob is one blob of known size, safe for concurrent use. A blob that is not kept, or not yet, holds its file open until it is
// read for the first time, or garbage collected; any other Blob holds nothing.
type Blob struct {
	origin   *Origin
	digest   v1.Hash
	key      string
	size     int64 // -1: not known yet
	fetch    Fetch
	followed *diskcache.File // of the fetch that the size is from; nil if it was kept
	once     atomic.Pointer[hold]
}

// hold is an open file for the first WriteRange.
type hold struct {
	file *diskcache.File
	drop runtime.Cleanup // if the Blob is garbage
}

// hold keeps f for the first WriteRange: the fetch may have ended by then, and begin again for nothing.
func (b *Blob) hold(f *diskcache.File) {
	b.once.Store(&hold{f, runtime.AddCleanup(b, (*diskcache.File).Close, f)})
}

// held gives the held file to the caller, who closes it; nil if there is none.
func (b *Blob) held() *diskcache.File {
	h := b.once.Swap(nil)
	if h == nil {
		return nil
	}
	h.drop.Stop()
	runtime.KeepAlive(b) // else the file may be closed nevertheless
	return h.file
}

// Size is the length in bytes.
func (b *Blob) Size() int64 { return b.size }

// WriteRange writes n bytes from offset off on; a range that does not lie within Size gives an error matching [fs.ErrInvalid].
// While the blob is fetched, its bytes are written as they arrive, but for the last one of the range, which is written when the
// whole blob is verified: after an error there are too few bytes, and they may be wrong. A large range of a whole blob goes to w as
// an [io.LimitedReader] right over an [os.File]; its last bytes are held back until the file was looked at once more.
//
// A blob that is neither kept nor being fetched any more, as one that is too large to be kept, is fetched again, as long as nothing
// has been written; but a fetch that has failed does not begin again for this Blob. The errors are those of [Origin.Blob], and
// those of w.
func (b *Blob) WriteRange(ctx context.Context, w io.Writer, off, n int64) error {
	if off < 0 || n < 0 || off > b.size-n {
		return fmt.Errorf("blob %s: %d bytes from %d on, of %d: %w", b.digest, n, off, b.size, fs.ErrInvalid)
	}
	for try := 1; ; try++ {
		done, err := b.write(ctx, w, off, n)
		if done > 0 || !errors.Is(err, diskcache.ErrChanged) || try == maxTries {
			return err
		}
	}
}

func (b *Blob) write(ctx context.Context, w io.Writer, off, n int64) (done int64, err error) {
	f := b.held()
	if f == nil {
		if f, err = b.get(ctx); err != nil {
			return 0, err
		}
	}
	defer f.Close()
	if done, err = f.WriteRange(ctx, w, off, n); err != nil {
		err = fmt.Errorf("blob %s: %w", b.digest, err)
	}
	return done, err
}

// get returns an open file of the blob, whose size is known.
func (b *Blob) get(ctx context.Context) (f *diskcache.File, err error) {
	o, d, fetch := b.origin, b.digest, b.fetch // without b, which may become garbage while it is fetched
	if b.followed != nil {
		if err := b.followed.Failed(); err != nil && !flight.Again(ctx, err) {
			return nil, err
		}
	}
	if fetch == nil {
		f, err = o.files.Open(ctx, b.key)
	} else {
		f, err = o.files.Get(ctx, b.key, o, func(ctx context.Context, f *diskcache.Fill) error { return o.fill(ctx, f, d, fetch) })
	}
	if err == nil && f.Size() <= 0 { // nor has an empty blob a byte to hold back until it is verified
		if err = f.Wait(ctx); err != nil {
			f.Close()
		}
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("blob %s: %w", b.digest, err)
	case b.size >= 0 && f.Size() != b.size:
		f.Close()
		return nil, fmt.Errorf("blob %s: %w: %d bytes in place of %d", b.digest, ErrContent, f.Size(), b.size)
	}
	return f, nil
}
