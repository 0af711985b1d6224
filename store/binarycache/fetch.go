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

// Fetcher gets the files of a cache that lies elsewhere, by their names relative to it. Errors say which cache and file.
// A file that is not there gives one matching [fs.ErrNotExist], a file that cannot be had now, for whatever reason, one matching
// store.ErrUnavailable. One that matches [fs.ErrPermission] alone is about a file that is forbidden, as some caches say of what
// they do not have. A method RetryAfter, of a [time.Duration], tells for how long the cache wants to be left alone. It is called
// by thousands at once, and bounds itself how many requests the cache gets of that. Safe for concurrent use.
type Fetcher interface {
	// Get returns a small file. One of more than limit bytes gives an error matching store.ErrTooLarge.
	Get(ctx context.Context, name string, limit int64) ([]byte, error)
	// Open returns the bytes of a file, from the first one on; a connection that is cut is continued behind the reader's
	// back. Reads fail when ctx ends. The caller closes it.
	Open(ctx context.Context, name string) (io.ReadCloser, error)
}

// isForbidden reports whether a cache keeps a file from us that may not be there.
func isForbidden(err error) bool {
	return errors.Is(err, fs.ErrPermission) && !errors.Is(err, store.ErrUnavailable)
}

// retryAfter is for how long the cache wants to be left alone, at most maxRetryAfter; 0 if it does not say.
func retryAfter(err error) time.Duration {
	var a interface{ RetryAfter() time.Duration }
	if errors.As(err, &a) {
		return min(a.RetryAfter(), maxRetryAfter)
	}
	return 0
}

// opener is the part of a Fetcher that archives need. The caller closes what it got. A file that is not there gives an
// error matching fs.ErrNotExist.
type opener interface {
	Open(ctx context.Context, name string) (io.ReadCloser, error)
}

// ofFile is the error for a file of a cache on disk that is there, or may be, and cannot be read: nobody knows what it says.
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

// readSmall returns the text of a file of at most maxNarinfo bytes, and what kind of file it read.
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

// openRegular opens a regular file only: to open a pipe would wait for its other end.
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
