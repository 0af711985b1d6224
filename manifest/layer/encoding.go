package layer

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/zstd"

	"github.com/nixreg/nixreg/manifest/layer/gunzip"
)

// Encoding names how nixreg compresses the tar of a layer: the compressor with its version, level and block size. Recipes and
// records spell it like this. The bytes of a released encoding never change; a compressor that writes other bytes is a new
// encoding with a new name.
type Encoding string

// The encodings.
const (
	// Tar is no compression: the digest of the layer is its diffID.
	Tar Encoding = ""
	// Gzip is one gzip member, level 6 of github.com/klauspost/compress v1.20, in blocks of 1 MiB that are compressed
	// concurrently, each with the 32 KiB before it as dictionary.
	Gzip Encoding = "gzip1"
	// Zstd is one frame for each 4 MiB, the default level of github.com/klauspost/compress v1.20.
	Zstd Encoding = "zstd1"
)

// Compression is the format of bytes that another program compressed; "" is none. It does not fix the bytes, as an [Encoding]
// does. Recipes and records spell it like this.
type Compression string

// The compressions.
const (
	Gzipped   Compression = "gzip"
	Zstandard Compression = "zstd"
)

// MediaTypes are the media types of a layer in the two dialects; "" if the dialect has none.
//
// Source: OCI image-spec 1.1, layer.md; Docker image manifest V2, schema 2.
type MediaTypes struct{ OCI, Docker types.MediaType }

// coding is all that nixreg knows of one encoding.
type coding struct {
	encoding    Encoding
	name        string // in settings
	compression Compression
	media       MediaTypes
	starts      func(head []byte) bool
	// compress returns a writer that the caller closes, which ends the compressed stream and leaves w open.
	compress func(w io.Writer) (io.WriteCloser, error)
	// decompress returns a reader that the caller closes, which leaves r open. Only gzip fills the index, which may be nil.
	decompress func(r io.Reader, x *gunzip.Index) (io.ReadCloser, error)
}

// codings is the one place that lists the encodings. Of several with the same compression the first one decompresses.
var codings = []coding{
	{encoding: Tar, name: "tar", media: MediaTypes{types.OCIUncompressedLayer, types.DockerUncompressedLayer}},
	{
		encoding: Gzip, name: "gzip", compression: Gzipped, media: MediaTypes{types.OCILayer, types.DockerLayer},
		starts:   func(head []byte) bool { return bytes.HasPrefix(head, []byte("\x1f\x8b")) },
		compress: newGzip,
		decompress: func(r io.Reader, x *gunzip.Index) (io.ReadCloser, error) {
			return io.NopCloser(gunzip.NewReader(r, x)), nil
		},
	},
	{
		encoding: Zstd, name: "zstd", compression: Zstandard, media: MediaTypes{OCI: types.OCILayerZStd},
		starts: startsZstd, compress: newZstd, decompress: zstdReader,
	},
}

// EncodingsByName returns all encodings by their names in settings.
func EncodingsByName() map[string]Encoding {
	byName := make(map[string]Encoding, len(codings))
	for _, c := range codings {
		byName[c.name] = c.encoding
	}
	return byName
}

// codingOf returns the row of an encoding, or of bytes that are compressed already; the zero value if there is none.
func codingOf(e Encoding, packed Compression) coding {
	for _, c := range codings {
		if packed != "" && c.compression == packed || packed == "" && c.encoding == e {
			return c
		}
	}
	return coding{}
}

// MediaTypes returns the media types of layers in the encoding; none for an unknown encoding.
func (e Encoding) MediaTypes() MediaTypes { return codingOf(e, "").media }

// open returns a reader of what r holds compressed; the caller closes it, which leaves r open. A nil index is not built.
func (p Compression) open(r io.Reader, x *gunzip.Index) (io.ReadCloser, error) {
	if c := codingOf(Tar, p); c.decompress != nil {
		return c.decompress(r, x)
	}
	return nil, fmt.Errorf("compression %q: %w", p, errors.ErrUnsupported)
}

// headBytes is how many bytes of a file tell its compression.
const headBytes = 6

// CompressionOf tells the compression of a file by its first bytes. An error matching errors.ErrUnsupported means one that
// nixreg cannot read.
func CompressionOf(head []byte) (Compression, error) {
	for _, c := range codings {
		if c.starts != nil && c.starts(head) {
			return c.compression, nil
		}
	}
	if bytes.HasPrefix(head, []byte("\xfd7zXZ\x00")) || bytes.HasPrefix(head, []byte("BZh")) {
		return "", fmt.Errorf("compressed with something else than gzip or zstd: %w", errors.ErrUnsupported)
	}
	return "", nil
}

// readCompression reads the first bytes of r and tells the compression by them.
func readCompression(r io.Reader) (Compression, error) {
	head := make([]byte, headBytes)
	n, err := io.ReadFull(r, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return "", err
	}
	return CompressionOf(head[:n])
}

// startsZstd accepts a frame of data and a skippable frame, with which pzstd begins.
//
// Source: RFC 8878, section 3.1.
func startsZstd(head []byte) bool {
	return bytes.HasPrefix(head, []byte("\x28\xb5\x2f\xfd")) || len(head) > 3 && head[0]&0xf0 == 0x50 && string(head[1:4]) == "\x2a\x4d\x18"
}

// maxZstdWindow bounds the memory of a decoder in bytes: the largest window of zstd without --long.
const maxZstdWindow = 128 << 20

func zstdReader(r io.Reader, _ *gunzip.Index) (io.ReadCloser, error) {
	z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxZstdWindow))
	if err != nil {
		return nil, invalid(err)
	}
	return z.IOReadCloser(), nil
}
