package binarycache

import (
	"compress/bzip2"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"

	"github.com/klauspost/compress/zstd"

	"nixreg/store"
)

// Fetcher gets the files of a cache that lies elsewhere, by their names relative to it. A file that is not there gives an
// error matching [fs.ErrNotExist], a cache that cannot be asked one matching store.ErrUnavailable. Safe for concurrent
// use.
type Fetcher interface {
	// Get returns a small file. One of more than limit bytes gives an error matching store.ErrTooLarge.
	Get(ctx context.Context, name string, limit int64) ([]byte, error)
	// Open returns the bytes of a file, from the first one on; a connection that is cut is continued behind the reader's
	// back. Reads fail when ctx ends. The caller closes it.
	Open(ctx context.Context, name string) (io.ReadCloser, error)
}

// fetcher gets the files of a cache by their names relative to it. The caller closes what it got. A file that is not
// there gives an error matching fs.ErrNotExist.
type fetcher interface {
	fetch(ctx context.Context, name string) (io.ReadCloser, error)
}

// dir is the fetcher of a file system.
type dir struct{ fs fs.FS }

func (d dir) fetch(ctx context.Context, name string) (io.ReadCloser, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return openRegular(d.fs, name)
}

// compression is how an archive is stored.
type compression string

const (
	noStream    compression = "none"
	xzStream    compression = "xz"
	zstdStream  compression = "zstd"
	bzip2Stream compression = "bzip2"
	gzipStream  compression = "gzip"
)

func parseCompression(s string) (compression, error) {
	switch c := compression(s); c {
	case noStream, xzStream, zstdStream, bzip2Stream, gzipStream:
		return c, nil
	case "":
		return bzip2Stream, nil
	}
	return "", fmt.Errorf("compression %.100q: %w", s, errors.ErrUnsupported)
}

// maxWindow bounds the memory of xz and zstd, in bytes; zstd -19 and xz -9 need 8 and 64 MiB.
const maxWindow = 128 << 20

// open returns the bytes that are stored in r; closing it does not close r.
func (c compression) open(r io.Reader) (io.ReadCloser, error) {
	switch c {
	case xzStream:
		x, err := newXZReader(r)
		if err != nil {
			return nil, err
		}
		return io.NopCloser(x), nil
	case zstdStream:
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, err
		}
		return z.IOReadCloser(), nil
	case bzip2Stream:
		return io.NopCloser(bzip2.NewReader(r)), nil
	case gzipStream:
		return gzip.NewReader(r)
	}
	return io.NopCloser(r), nil
}

// unpack fetches the archive of n and writes it to w, and has verified size and hash of both its forms when it
// returns nil. No more than n.object.NarSize bytes are written.
func (s *Store) unpack(ctx context.Context, n *narinfo, w io.Writer) error {
	if n.object.NarSize > s.maxNAR {
		return fmt.Errorf("archive of %d bytes, at most %d are allowed: %w", n.object.NarSize, s.maxNAR, store.ErrTooLarge)
	}
	src, err := s.source.fetch(ctx, n.url)
	if err != nil {
		return fmt.Errorf("fetch archive: %w", err)
	}
	defer src.Close()
	stored := &measured{r: contextReader{ctx, src}, hash: sha256.New(), left: n.storedLimit()}
	nar := sha256.New()
	size, err := n.decompress(io.MultiWriter(w, nar), stored)
	if stored.err != nil { // not what the decompressor makes of it
		return fmt.Errorf("%s: %w", n.url, stored.err)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", n.url, err)
	}
	return n.verify(stored, size, store.Hash(nar.Sum(nil)))
}

// storedLimit is the number of bytes the stored archive may have at most.
func (n *narinfo) storedLimit() int64 {
	limit := n.object.NarSize + n.object.NarSize/8 + 64<<10 // compression makes nothing that much larger
	if n.fileSize > 0 {
		return min(n.fileSize, limit)
	}
	return limit
}

// decompress returns the number of bytes of the unpacked archive; that is more than it wrote if there were too many.
func (n *narinfo) decompress(w io.Writer, stored *measured) (size int64, err error) {
	defer func() {
		if p := recover(); p != nil { // a decompressor that trips over bytes from outside must not end the program
			err = corrupt("%s: decompressor panics: %v", n.compression, p)
		}
	}()
	r, err := n.compression.open(stored)
	if err != nil {
		return 0, corrupt("%s: %v", n.compression, err)
	}
	defer r.Close()
	body := &errorReader{r: r}
	size, err = io.Copy(w, io.LimitReader(body, n.object.NarSize))
	if err == nil {
		var more int64
		more, err = io.CopyN(io.Discard, body, 1)
		size += more
	}
	if err == io.EOF {
		err = nil
	}
	if err != nil && body.err != nil {
		return size, corrupt("%s: %v", n.compression, body.err)
	}
	return size, err
}

// verify compares what was read with what the narinfo says.
func (n *narinfo) verify(stored *measured, size int64, nar store.Hash) error {
	want := &n.object
	if size > want.NarSize {
		return corrupt("%s: archive is larger than %d bytes, its NarSize", n.url, want.NarSize)
	}
	if size != want.NarSize {
		return corrupt("%s: archive has %d bytes, NarSize is %d", n.url, size, want.NarSize)
	}
	if nar != want.NarHash {
		return corrupt("%s: archive has hash %s, NarHash is %s", n.url, nar, want.NarHash)
	}
	if n.fileSize > 0 && stored.size != n.fileSize {
		return corrupt("%s: file has %d bytes, FileSize is %d", n.url, stored.size, n.fileSize)
	}
	if got := store.Hash(stored.hash.Sum(nil)); n.fileHash != (store.Hash{}) && got != n.fileHash {
		return corrupt("%s: file has hash %s, FileHash is %s", n.url, got, n.fileHash)
	}
	return nil
}

// measured hashes and counts what is read of r, and fails once more than left bytes come.
type measured struct {
	r    io.Reader
	hash hash.Hash
	left int64
	size int64
	err  error // of r or the limit
}

func (m *measured) Read(b []byte) (int, error) {
	if m.err != nil {
		return 0, m.err
	}
	n, err := m.r.Read(b)
	m.hash.Write(b[:n])
	m.size += int64(n)
	m.left -= int64(n)
	if m.left < 0 {
		err = corrupt("file is larger than it may be")
	}
	if err != nil && err != io.EOF {
		m.err = err
	}
	return n, err
}

// contextReader fails when ctx, that of the work it belongs to, ends.
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

// errorReader remembers the error of a reader, to tell it from one of the writer in a copy.
type errorReader struct {
	r   io.Reader
	err error
}

func (e *errorReader) Read(b []byte) (int, error) {
	n, err := e.r.Read(b)
	if err != nil && err != io.EOF {
		e.err = err
	}
	return n, err
}
