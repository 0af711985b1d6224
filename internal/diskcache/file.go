package diskcache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"syscall"

	"github.com/nixreg/nixreg/internal/filestamp"
)

// File is a file in use, which is not evicted until Close. It may still be filled. Safe for concurrent use.
type File struct {
	cache  *index
	handle *handle         // of a kept file
	entry  *entry          // of a kept file
	stamp  filestamp.Stamp // of a kept file
	size   int64           // of a kept file
	fill   *Fill           // nil for a kept file
	ctx    context.Context // of the waiter of fill
	left   atomic.Bool     // it waits for fill no longer
	closed atomic.Bool
}

// Size is the number of bytes; -1 while it is not known.
func (f *File) Size() int64 {
	if f.fill != nil {
		return f.fill.Size()
	}
	return f.size
}

// Kept tells whether the file has its name.
func (f *File) Kept() bool {
	if f.fill == nil {
		return true
	}
	f.cache.mu.Lock()
	defer f.cache.mu.Unlock()
	return f.fill.entry != nil
}

// Wait waits until the file is whole, verified, and has its name if it is kept. The error is that of the filler, or of ctx.
func (f *File) Wait(ctx context.Context) error {
	if f.fill == nil {
		return nil
	}
	err := f.fill.await(ctx, func() bool { return false })
	if err == nil {
		f.leave()
	}
	return err
}

// Failed returns the error of the filler, if it has failed.
func (f *File) Failed() error {
	if f.fill == nil {
		return nil
	}
	select {
	case <-f.fill.job.Done():
		return f.cache.failed(f.fill.job.Err())
	default:
		return nil
	}
}

// Close ends the use of the file. A second Close does nothing.
func (f *File) Close() {
	switch {
	case f.closed.Swap(true):
	case f.fill == nil:
		f.cache.unpin(f.entry, f.handle.file)
		f.handle.file.Close()
	default:
		f.leave()
		f.cache.release(f.fill)
	}
}

// leave ends the wait for the filler.
func (f *File) leave() {
	if !f.left.Swap(true) {
		f.fill.job.Leave(f.ctx)
	}
}

// Stamp is the state of the file as it was verified; zero if the file has no name yet, under which somebody could change it.
func (f *File) Stamp() filestamp.Stamp {
	if f.fill == nil {
		return f.stamp
	}
	f.cache.mu.Lock()
	defer f.cache.mu.Unlock()
	return f.fill.stamp
}

// Unchanged returns an error matching [ErrChanged] if the file is not in the state in which it was verified.
func (f *File) Unchanged() error {
	stamp := f.Stamp()
	if stamp == (filestamp.Stamp{}) {
		return nil
	}
	if how := stamp.Changed(f.descriptor().file); how != "" {
		return fmt.Errorf("%s: %w: %s", f.descriptor().file.Name(), ErrChanged, how)
	}
	return nil
}

// ReadAt reads a file that is whole, after Wait.
func (f *File) ReadAt(p []byte, off int64) (int, error) { return f.descriptor().file.ReadAt(p, off) }

func (f *File) descriptor() *handle {
	if f.fill != nil {
		return f.fill.handle
	}
	return f.handle
}

// WriteRange writes n bytes from off on, and returns how many w took. While the file is filled, its bytes are written as they
// arrive, but for the last one of the range, which is written when the whole file is verified: after an error there are too few
// bytes, and they may be wrong. A large range of a whole file goes to w as an [io.LimitedReader] right over an [os.File]. An error
// matching [ErrChanged] says that the file has changed; other errors are those of the filler, of ctx, of w and of the disk.
func (f *File) WriteRange(ctx context.Context, w io.Writer, off, n int64) (done int64, err error) {
	if f.fill == nil || f.isWhole() {
		done, err = f.writeWhole(ctx, w, off, n)
	} else {
		done, err = f.copy(ctx, w, off, n)
	}
	if errors.Is(err, syscall.EIO) || errors.Is(err, io.ErrUnexpectedEOF) {
		f.doubt()
		err = fmt.Errorf("%w: %w", ErrChanged, err)
	}
	return done, err
}

func (f *File) isWhole() bool {
	f.fill.mu.Lock()
	defer f.fill.mu.Unlock()
	return f.fill.whole
}

// doubt makes the next Open verify the file.
func (f *File) doubt() {
	f.cache.mu.Lock()
	defer f.cache.mu.Unlock()
	e := f.entry
	if f.fill != nil {
		e = f.fill.entry
	}
	if e != nil {
		e.stamp = filestamp.Stamp{}
	}
}

// writeWhole writes a range of a whole file. If another reader uses the offset of the descriptor, it takes a descriptor of its own.
func (f *File) writeWhole(ctx context.Context, w io.Writer, off, n int64) (int64, error) {
	h := f.descriptor()
	if h.offset.TryLock() {
		defer h.offset.Unlock()
		return filestamp.WriteRange(ctx, w, h.file, off, n, f.Unchanged)
	}
	own, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", h.file.Fd())) // the file may have no name; this exists on Linux only
	if err != nil {
		return f.copy(ctx, w, off, n)
	}
	defer own.Close()
	return filestamp.WriteRange(ctx, w, own, off, n, f.Unchanged)
}

// copy writes a range by a buffer, as its bytes arrive.
func (f *File) copy(ctx context.Context, w io.Writer, off, n int64) (done int64, err error) {
	buf := buffers.Get().(*[bufferSize]byte)
	defer buffers.Put(buf)
	for done < n {
		there, err := f.arrived(ctx, off+done, off+n)
		if err != nil {
			return done, err
		}
		p := buf[:min(bufferSize, there-off-done)]
		if _, err := f.ReadAt(p, off+done); err == io.EOF {
			return done, io.ErrUnexpectedEOF
		} else if err != nil {
			return done, ownError(err)
		}
		if done+int64(len(p)) == n {
			if err := f.Unchanged(); err != nil {
				return done, err
			}
		}
		m, err := w.Write(p)
		done += int64(m)
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// arrived waits for bytes between off and end, and returns up to where they may be given away.
func (f *File) arrived(ctx context.Context, off, end int64) (there int64, err error) {
	if err := ctx.Err(); err != nil || f.fill == nil {
		return end, err
	}
	err = f.fill.await(ctx, func() bool {
		there = end
		if !f.fill.whole {
			there = min(f.fill.written, end-1)
		}
		return there > off
	})
	return there, err
}
