package web

import (
	"compress/bzip2"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"strings"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
	"github.com/mikelolasagasti/xz"

	"github.com/nixreg/nixreg/internal/fetch"
)

// maxWindow bounds the memory that unpacking takes, in bytes.
const maxWindow = 16 << 20

// encodingOf is the compression that the server has added, or "". For hello.nar.xz the encoding xz is not added: the server
// means the file.
func encodingOf(h http.Header, name string) string {
	e := strings.ToLower(strings.TrimSpace(strings.Join(h.Values("Content-Encoding"), ",")))
	e = strings.TrimPrefix(e, "x-")
	name, _, _ = strings.Cut(name, "?")
	suffix := map[string]string{".gz": "gzip", ".bz2": "bzip2", ".zst": "zstd", ".xz": "xz", ".br": "br"}[path.Ext(name)]
	if e == "identity" || e != "" && e == suffix {
		return ""
	}
	return fetch.Printable(e)
}

// decode unpacks at most limit bytes.
func decode(encoding string, r io.Reader, limit int64) ([]byte, error) {
	d, err := newDecoder(encoding, r)
	if err != nil {
		return nil, err
	}
	defer d.close()
	return io.ReadAll(io.LimitReader(d, limit))
}

// decoder unpacks a body while it is read. A panic is an error: bytes from outside must not end the program.
type decoder struct {
	r     io.Reader
	close func()
}

func newDecoder(encoding string, r io.Reader) (d *decoder, err error) {
	defer guard(&err)
	d = &decoder{close: func() {}}
	switch encoding {
	case "gzip":
		d.r, err = gzip.NewReader(r)
	case "br":
		d.r = brotli.NewReader(r)
	case "zstd":
		var z *zstd.Decoder
		if z, err = zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow)); err == nil {
			d.r, d.close = z, z.Close
		}
	case "xz":
		d.r, err = xz.NewReader(r, maxWindow)
	case "bzip2":
		d.r = bzip2.NewReader(r)
	default:
		err = errors.ErrUnsupported
	}
	if err != nil {
		return nil, err
	}
	return d, nil
}

func (d *decoder) Read(p []byte) (n int, err error) {
	defer guard(&err)
	return d.r.Read(p)
}

func guard(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("decoder panics: %v", p)
	}
}

// decodedBody is a file that a server has compressed although it was asked not to, as it is stored.
type decodedBody struct {
	*decoder
	body io.Closer
	fail func(error) error // makes the error of the decoder one of the file
	err  error
}

func (b *decodedBody) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	n, err := b.decoder.Read(p)
	if err != nil && err != io.EOF {
		err = b.fail(err)
	}
	b.err = err
	return n, err
}

func (b *decodedBody) Close() error {
	b.decoder.close()
	return b.body.Close()
}
