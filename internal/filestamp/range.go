package filestamp

import (
	"cmp"
	"context"
	"errors"
	"io"
	"os"
	"sync"
)

const (
	small    = 64 << 10 // bytes of a range that is read wholly before any of it is written
	heldBack = 4 << 10  // last bytes of a larger range, written after the second check
	piece    = 4 << 20  // bytes between two looks at the context
)

var buffers = sync.Pool{New: func() any { return new([small]byte) }}

// WriteRange writes n bytes of f to w, from off on. It calls unchanged before the first byte and again before the last ones,
// and ends with its error, so a changed file never arrives complete. It returns the number of bytes that w took. A file that
// is too short gives the error of unchanged, or [io.ErrUnexpectedEOF].
//
// Most of a large range reaches w as an [io.LimitedReader] right over f, for sendfile.
func WriteRange(ctx context.Context, w io.Writer, f *os.File, off, n int64, unchanged func() error) (done int64, err error) {
	if err := cmp.Or(ctx.Err(), unchanged()); err != nil || n == 0 {
		return 0, err
	}
	buf := buffers.Get().(*[small]byte)
	defer buffers.Put(buf)
	last := n
	if n > small {
		last = heldBack
		if done, err = send(ctx, w, f, off, n-last, buf[:]); err != nil {
			return done, shorter(err, unchanged)
		}
	}
	if _, err := f.ReadAt(buf[:last], off+done); err != nil {
		return done, shorter(err, unchanged)
	}
	if err := unchanged(); err != nil {
		return done, err
	}
	m, err := w.Write(buf[:last])
	return done + int64(m), err
}

func send(ctx context.Context, w io.Writer, f *os.File, off, n int64, buf []byte) (done int64, err error) {
	if _, err := f.Seek(off, io.SeekStart); err != nil {
		return 0, err
	}
	for done < n {
		if err := ctx.Err(); err != nil {
			return done, err
		}
		want := min(n-done, piece)
		m, err := io.CopyBuffer(w, io.LimitReader(f, want), buf)
		done += m
		if err == nil && m < want {
			err = io.EOF
		}
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// shorter makes the error for a file that has become shorter.
func shorter(err error, unchanged func() error) error {
	if errors.Is(err, io.EOF) {
		return cmp.Or(unchanged(), io.ErrUnexpectedEOF)
	}
	return err
}
