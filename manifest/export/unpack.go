package export

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/nixreg/nixreg/internal/errkind"
)

// maxZstdWindow bounds the memory of a decoder, in bytes. It is the window of zstd's highest level without --long.
const maxZstdWindow = 128 << 20

// measure returns the size of a compressed layer when it is unpacked, and verifies its diffID.
func measure(ctx context.Context, b Blob, diffID v1.Hash) (int64, error) {
	h := sha256.New()
	n := &counter{w: h}
	if err := unpack(ctx, n, b); err != nil {
		return 0, err
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != diffID.Hex {
		return 0, errkind.Invalid("unpacks to sha256:%s, not to %s as the config says", got, diffID)
	}
	return n.n, nil
}

// counter counts the bytes that are written.
type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// unpack writes the uncompressed bytes of a layer.
func unpack(ctx context.Context, w io.Writer, b Blob) error {
	r := reader(ctx, b)
	defer r.Close()
	z, err := decompress(r)
	if err != nil {
		return err
	}
	defer z.Close()
	if _, err := io.Copy(w, z); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, r) // read errors behind the end of the compressed data count, too
	return err
}

// decompress tells the compression from the first bytes.
func decompress(r io.Reader) (io.ReadCloser, error) {
	magic := make([]byte, 4)
	n, err := io.ReadFull(r, magic)
	if err != nil && n == 0 && err != io.EOF {
		return nil, err
	}
	r = io.MultiReader(bytes.NewReader(magic[:n]), r)
	switch {
	case bytes.HasPrefix(magic[:n], []byte("\x1f\x8b")):
		return gzip.NewReader(r)
	case bytes.Equal(magic[:n], []byte("\x28\xb5\x2f\xfd")):
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxZstdWindow))
		if err != nil {
			return nil, err
		}
		return z.IOReadCloser(), nil
	}
	return io.NopCloser(r), nil
}

// piped is a reader of a blob.
type piped struct {
	*io.PipeReader
	cancel  context.CancelFunc
	writing sync.WaitGroup
}

// reader returns the bytes of a blob. The caller closes it, which stops the goroutine that writes them.
func reader(ctx context.Context, b Blob) io.ReadCloser {
	ctx, cancel := context.WithCancel(ctx)
	r, w := io.Pipe()
	p := &piped{PipeReader: r, cancel: cancel}
	p.writing.Go(func() { w.CloseWithError(b.WriteRange(ctx, w, 0, b.Size())) })
	return p
}

func (p *piped) Close() error {
	p.cancel()
	err := p.PipeReader.Close()
	p.writing.Wait()
	return err
}
