package registry

import (
	"errors"
	"io"
	"os"
	"syscall"
)

// sniff is the number of bytes read of a file before the header is sent, to see that it can be read.
const sniff = 512

var errTooLong = errors.New("more bytes than asked for")

// body is the writer for the span of a blob. It sends the header before the first byte, and accepts no more than the span: sendfile
// would put more bytes into the next answer on the connection.
type body struct {
	span
	w      *response
	header func() bool // sends the header, unless it is too late
	begun  bool
	left   int64
	err    error // the first error; there are no writes after it
	client bool  // the error is one of the connection to the client
}

var _ io.ReaderFrom = (*body)(nil)

func (b *body) Write(p []byte) (int, error) {
	if b.err != nil || len(p) == 0 {
		return 0, b.err
	}
	if int64(len(p)) > b.left {
		b.err = errTooLong
		return 0, b.err
	}
	if !b.begin() {
		b.err = errWaited
		return 0, b.err
	}
	n, err := b.w.Write(p)
	b.left -= int64(n)
	b.err, b.client = err, err != nil
	return n, err
}

func (b *body) begin() bool {
	if !b.begun {
		b.begun = b.header()
	}
	return b.begun
}

// ReadFrom copies src: parts of files by sendfile, anything else by Write.
func (b *body) ReadFrom(src io.Reader) (int64, error) {
	lr, ok := src.(*io.LimitedReader)
	if !ok || !isFile(lr.R) || lr.N > b.left || b.err != nil {
		return io.Copy(struct{ io.Writer }{b}, src) // hides ReadFrom
	}
	first := int64(0)
	if !b.begun { // the first bytes by Write, so that an unreadable file is an error before the header
		n, err := io.CopyN(struct{ io.Writer }{b}, lr, min(sniff, lr.N))
		if err == io.EOF {
			return n, nil // the file has become shorter
		}
		if err != nil {
			return n, err
		}
		first = n
	}
	n, err := b.w.ReadFrom(lr)
	b.left -= n
	b.err = err
	return first + n, err
}

// isFile reports whether sendfile may be possible from r.
func isFile(r io.Reader) bool {
	_, ok := r.(syscall.Conn)
	return ok
}

// clientFailed reports whether err is one of the connection to the client. After sendfile, which reads and writes in one call, only the
// kind of the error tells.
func (b *body) clientFailed(err error) bool {
	return b.client || b.err != nil && (errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) ||
		errors.Is(err, os.ErrDeadlineExceeded))
}
