package binarycache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
)

// Fetcher gets the files of a cache that lies elsewhere, by their names relative to it. A file that is not there gives an
// error matching [fs.ErrNotExist], a cache that cannot be asked one matching store.ErrUnavailable; both say which cache and
// file. Safe for concurrent use.
type Fetcher interface {
	// Get returns a small file. One of more than limit bytes gives an error matching store.ErrTooLarge.
	Get(ctx context.Context, name string, limit int64) ([]byte, error)
	// Open returns the bytes of a file, from the first one on; a connection that is cut is continued behind the reader's
	// back. Reads fail when ctx ends. The caller closes it.
	Open(ctx context.Context, name string) (io.ReadCloser, error)
}

// opener is the part of a Fetcher that archives need. The caller closes what it got. A file that is not there gives an
// error matching fs.ErrNotExist.
type opener interface {
	Open(ctx context.Context, name string) (io.ReadCloser, error)
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
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{contextReader{ctx, f}, f}, nil
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
