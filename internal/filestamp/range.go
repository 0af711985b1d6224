package filestamp

import (
	"cmp"
	"context"
	"errors"
	"io"
	"os"
)

const (
	small    = 64 << 10 // bytes; up to here a range is read wholly before any of it is handed over
	heldBack = 4 << 10  // of larger ranges, how many of the last bytes are handed over after the second look
	piece    = 16 << 20 // bytes between two looks at the context
)

// WriteRange writes n bytes of f, from off on, to w. Before the first byte and again before the last ones it calls unchanged,
// whose error ends it: a file that changed never arrives complete. It returns how many bytes w took. A file that is too
// short gives the error of unchanged, or io.ErrUnexpectedEOF.
//
// Most of a large range reaches w as an [io.LimitedReader] right over f, for sendfile.
func WriteRange(ctx context.Context, w io.Writer, f *os.File, off, n int64, unchanged func() error) (done int64, err error) {
	if n == 0 {
		return 0, ctx.Err()
	}
	if err := cmp.Or(ctx.Err(), unchanged()); err != nil {
		return 0, err
	}
	last := n
	if n > small {
		last = heldBack
		if done, err = send(ctx, w, f, off, n-last); err != nil {
			return done, shorter(err, unchanged)
		}
	}
	buf := make([]byte, last)
	if _, err := f.ReadAt(buf, off+done); err != nil {
		return done, shorter(err, unchanged)
	}
	if err := unchanged(); err != nil {
		return done, err
	}
	m, err := w.Write(buf)
	return done + int64(m), err
}

func send(ctx context.Context, w io.Writer, f *os.File, off, n int64) (done int64, err error) {
	if _, err := f.Seek(off, io.SeekStart); err != nil {
		return 0, err
	}
	for done < n {
		if err := ctx.Err(); err != nil {
			return done, err
		}
		want := min(n-done, piece)
		m, err := io.Copy(w, &io.LimitedReader{R: f, N: want})
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

// shorter makes the error for a file that ended where it did not before.
func shorter(err error, unchanged func() error) error {
	if errors.Is(err, io.EOF) {
		return cmp.Or(unchanged(), io.ErrUnexpectedEOF)
	}
	return err
}
