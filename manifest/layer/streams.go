package layer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/nixreg/nixreg/store"
)

// writeBuffer is the size in bytes of the buffers for small reads and writes.
const writeBuffer = 64 << 10

// nodeReader reads a regular file of a tree through a buffer. It can seek.
type nodeReader struct {
	ctx    context.Context // of the call that made the reader
	tree   store.Tree
	node   store.Node
	pos    int64
	window []byte
	start  int64 // of the window in the file
}

func (r *nodeReader) Read(p []byte) (int, error) {
	if r.pos >= r.node.Size {
		return 0, io.EOF
	}
	if r.pos < r.start || r.pos >= r.start+int64(len(r.window)) {
		if err := r.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.window[r.pos-r.start:])
	r.pos += int64(n)
	return n, nil
}

func (r *nodeReader) fill() error {
	n := min(r.node.Size-r.pos, writeBuffer)
	b := bytes.NewBuffer(r.window[:0])
	r.window = nil
	if err := r.tree.WriteFile(r.ctx, b, r.node, r.pos, n); err != nil {
		return err
	}
	r.window, r.start = b.Bytes(), r.pos
	return nil
}

// Seek implements io.Seeker. An offset after the end is an error.
func (r *nodeReader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += r.pos
	case io.SeekEnd:
		offset += r.node.Size
	}
	if offset < 0 || offset > r.node.Size {
		return 0, fmt.Errorf("seek to %d of %d bytes: %w", offset, r.node.Size, io.ErrUnexpectedEOF)
	}
	r.pos = offset
	return offset, nil
}

type countingReader struct {
	r io.Reader
	n int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// boundedReader reads from a decoder until it gives more bytes than limit or the context ends. It checks the context itself: a
// decoder may give many bytes before it reads its input again.
type boundedReader struct {
	ctx         context.Context
	r           io.Reader
	limit, left int64
}

func (b *boundedReader) Read(p []byte) (int, error) {
	if err := b.ctx.Err(); err != nil {
		return 0, err
	}
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.r.Read(p)
	if b.left -= int64(n); b.left < 0 {
		b.left = 0
		return 0, fmt.Errorf("unpacks to more than %d bytes: %w", b.limit, errors.ErrUnsupported)
	}
	return n, err
}

// copyRange copies n bytes from offset off of r.
func copyRange(w io.Writer, r io.Reader, off, n int64) error {
	if s, ok := r.(io.Seeker); ok {
		if _, err := s.Seek(off, io.SeekStart); err != nil {
			return err
		}
	} else if _, err := io.CopyN(io.Discard, r, off); err != nil {
		return invalid(err)
	}
	if _, err := io.CopyN(w, r, n); err != nil {
		return unexpected(err)
	}
	return nil
}

// errWindow ends an encoding after the last byte of the range.
var errWindow = errors.New("range is complete")

// window writes only the left bytes after the first skip bytes of a stream.
type window struct {
	w          io.Writer
	skip, left int64
}

func (x *window) Write(p []byte) (int, error) {
	all := len(p)
	cut := min(x.skip, int64(len(p)))
	x.skip -= cut
	p = p[cut:]
	part := p[:min(x.left, int64(len(p)))]
	if len(part) > 0 {
		n, err := x.w.Write(part)
		x.left -= int64(n)
		if err != nil {
			return 0, err
		}
	}
	if x.left == 0 && len(p) > len(part) {
		return 0, errWindow
	}
	return all, nil
}

const hashChunk = 256 << 10

// hasher is a writer that hashes in a goroutine of its own, concurrently with the reading of the next bytes. sum ends the
// goroutine and must be called exactly once.
type hasher struct {
	buf   []byte
	full  chan []byte
	empty chan []byte
	done  sync.WaitGroup
	h     hash.Hash
	n     int64
	count func(int64)
}

// newHasher returns a hasher that calls count with the length of each chunk after it is hashed.
func newHasher(count func(int64)) *hasher {
	const buffers = 4
	h := &hasher{full: make(chan []byte, buffers), empty: make(chan []byte, buffers), h: sha256.New(), count: count}
	for range buffers - 1 {
		h.empty <- make([]byte, 0, hashChunk)
	}
	h.buf = make([]byte, 0, hashChunk)
	h.done.Go(func() {
		for b := range h.full {
			h.h.Write(b)
			h.count(int64(len(b)))
			h.empty <- b[:0]
		}
	})
	return h
}

func (h *hasher) Write(p []byte) (int, error) {
	written := len(p)
	for len(p) > 0 {
		n := copy(h.buf[len(h.buf):cap(h.buf)], p)
		h.buf, p = h.buf[:len(h.buf)+n], p[n:]
		if len(h.buf) == cap(h.buf) {
			h.full <- h.buf
			h.buf = <-h.empty
		}
	}
	h.n += int64(written)
	return written, nil
}

func (h *hasher) sum() (digest v1.Hash, n int64) {
	h.full <- h.buf
	close(h.full)
	h.done.Wait()
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(h.h.Sum(nil))}, h.n
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// invalid makes an error of a decoder match fs.ErrInvalid. Errors of reading its input stay as they are.
func invalid(err error) error {
	for _, kind := range []error{store.ErrChanged, fs.ErrNotExist, fs.ErrInvalid, errors.ErrUnsupported, context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, kind) {
			return err
		}
	}
	return fmt.Errorf("%w: %w", unexpected(err), fs.ErrInvalid)
}
