package oci

import (
	"context"
	"io"
)

// Blob is the bytes behind a digest. Safe for concurrent use.
type Blob interface {
	// Size is in bytes, and known before the first byte is read.
	Size() int64
	// WriteRange writes n bytes from offset off on; off and n lie within Size. After an error fewer bytes were written, and
	// those need not be right: that they are is known with the last one. w may be an io.ReaderFrom that can do better than
	// Write (sendfile).
	WriteRange(ctx context.Context, w io.Writer, off, n int64) error
}

// Bytes is a blob in memory.
type Bytes []byte

// Size implements [Blob].
func (b Bytes) Size() int64 { return int64(len(b)) }

// WriteRange implements [Blob].
func (b Bytes) WriteRange(ctx context.Context, w io.Writer, off, n int64) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	_, err := w.Write(b[off : off+n])
	return err
}
