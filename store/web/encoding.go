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
func decode(encoding string, r io.Reader, limit int64) (b []byte, err error) {
	defer func() {
		if p := recover(); p != nil { // bytes from outside must not end the program
			err = fmt.Errorf("decoder panics: %v", p)
		}
	}()
	switch encoding {
	case "gzip":
		r, err = gzip.NewReader(r)
	case "br":
		r = brotli.NewReader(r)
	case "zstd":
		var z *zstd.Decoder
		z, err = zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
		if err == nil {
			defer z.Close()
		}
		r = z
	case "xz":
		r, err = xz.NewReader(r, maxWindow)
	case "bzip2":
		r = bzip2.NewReader(r)
	default:
		return nil, errors.ErrUnsupported
	}
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(r, limit))
}
