package binarycache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/nixreg/nixreg/store"
)

var errClosed = fmt.Errorf("binary cache: %w", fs.ErrClosed)

// Fetcher gets the files of a cache on a server, by their names relative to it. Errors name the cache and the file. The error for
// an absent file matches [fs.ErrNotExist]. The error for a file that cannot be fetched now matches [store.ErrUnavailable]. An
// error that matches only [fs.ErrPermission] is about a forbidden file, which may be absent. An error may have a method
// RetryAfter that returns a [time.Duration]. Thousands of goroutines call a Fetcher at once; it bounds its requests itself. Safe
// for concurrent use.
type Fetcher interface {
	// Get returns a small file. One of more than limit bytes gives an error matching store.ErrTooLarge.
	Get(ctx context.Context, name string, limit int64) ([]byte, error)
	// Open returns the bytes of a file. It replaces a connection that is cut. If nothing tells that the rest would be of the same
	// file, the error of Read matches ErrChanged of internal/fetch. Reads fail when ctx ends. The caller closes it.
	Open(ctx context.Context, name string) (io.ReadCloser, error)
}

// isForbidden reports whether a cache forbids a file, which may be absent.
func isForbidden(err error) bool {
	return errors.Is(err, fs.ErrPermission) && !errors.Is(err, store.ErrUnavailable)
}

// retryAfter returns the RetryAfter of err, at most maxRetryAfter; 0 if err has none.
func retryAfter(err error) time.Duration {
	var a interface{ RetryAfter() time.Duration }
	if errors.As(err, &a) {
		return min(a.RetryAfter(), maxRetryAfter)
	}
	return 0
}

// opener opens archives. The caller closes them. An absent one gives an error matching [fs.ErrNotExist].
type opener interface {
	Open(ctx context.Context, name string) (io.ReadCloser, error)
}

// ofFile makes the error of a file on disk that exists but cannot be read match [store.ErrUnavailable].
func ofFile(err error) error {
	switch {
	case err == nil, errors.Is(err, fs.ErrNotExist), errors.Is(err, ErrCorrupt), errors.Is(err, errors.ErrUnsupported):
		return err
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: %w", err, store.ErrUnavailable)
	}
	return fmt.Errorf("%v: %w", err, store.ErrUnavailable)
}

// fileReader reads a file of a cache on disk.
type fileReader struct{ r io.Reader }

func (f fileReader) Read(b []byte) (int, error) {
	n, err := f.r.Read(b)
	if err == io.EOF {
		return n, err
	}
	return n, ofFile(err)
}

// dir is the opener of a file system.
type dir struct{ fs fs.FS }

// Open implements opener.
func (d dir) Open(ctx context.Context, name string) (io.ReadCloser, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	f, err := openRegular(d.fs, name)
	if err != nil {
		return nil, ofFile(err)
	}
	return struct {
		io.Reader
		io.Closer
	}{contextReader{ctx, fileReader{f}}, f}, nil
}

// readSmall returns the text of a file of at most maxNarinfo bytes, and its FileInfo.
func readSmall(fsys fs.FS, name string) (string, fs.FileInfo, error) {
	f, err := openRegular(fsys, name)
	if err != nil {
		return "", nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return "", nil, err
	}
	text, err := io.ReadAll(io.LimitReader(f, maxNarinfo+1))
	if err != nil {
		return "", nil, fmt.Errorf("read %s: %w", name, err)
	}
	if len(text) > maxNarinfo {
		return "", nil, tooLarge(name)
	}
	return string(text), st, nil
}

func tooLarge(name string) error { return corrupt("%s: larger than %d bytes", name, maxNarinfo) }

// openRegular opens regular files only: to open a pipe would block.
func openRegular(fsys fs.FS, name string) (fs.File, error) {
	st, err := fs.Stat(fsys, name)
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "open", Path: name, Err: errors.New("not a regular file")}
	}
	return fsys.Open(name)
}

// contextReader fails when ctx ends.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(b []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(b)
}
