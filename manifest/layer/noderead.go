package layer

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"github.com/nixreg/nixreg/store"
)

// nodeReader reads a regular file of a tree through a window, and can seek in it.
type nodeReader struct {
	ctx    context.Context // of the one call that reads
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

// Seek never goes beyond the end.
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
