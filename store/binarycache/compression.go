package binarycache

import (
	"bufio"
	"compress/bzip2"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"math/bits"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
)

// compression is how an archive is stored, as Nix spells it.
//
// Source: Nix, libutil/compression.cc.
type compression string

const (
	noStream     compression = "none"
	xzStream     compression = "xz"
	zstdStream   compression = "zstd"
	bzip2Stream  compression = "bzip2"
	gzipStream   compression = "gzip"
	brotliStream compression = "br" // Nix writes and reads no other spelling
)

func parseCompression(s string) (compression, error) {
	switch c := compression(s); c {
	case noStream, xzStream, zstdStream, bzip2Stream, gzipStream, brotliStream:
		return c, nil
	case "":
		return bzip2Stream, nil
	}
	return "", fmt.Errorf("compression %.100q: %w", s, errors.ErrUnsupported)
}

const (
	// maxWindow bounds the memory of xz and zstd, in bytes; zstd -19 and xz -9 need 8 and 64 MiB.
	maxWindow = 128 << 20
	// minWindow is what they may use for the smallest archive.
	minWindow = 8 << 20
	// maxBrotliWindow is that of the format: there is no reading of "large windows" in that package.
	maxBrotliWindow = 16 << 20
)

// windowFor is the largest window, in bytes, that a stream of size unpacked bytes may ask for: there is nothing to look
// back at beyond its beginning.
func windowFor(size int64) int64 { return min(max(minWindow, roundUp(size)), maxWindow) }

// roundUp returns the power of two that is n or follows it, at least 4 KiB.
func roundUp(n int64) int64 {
	if n <= 4<<10 {
		return 4 << 10
	}
	return 1 << min(bits.Len64(uint64(n-1)), 62)
}

// window bounds what reading size bytes takes to look back at, in bytes. bzip2's blocks and gzip's 32 KiB are not counted.
func (c compression) window(size int64) int64 {
	switch c {
	case xzStream, zstdStream:
		return windowFor(size)
	case brotliStream:
		return maxBrotliWindow
	}
	return 0
}

// open returns the size bytes that are stored in r; closing it does not close r. Its memory is bounded by size.
func (c compression) open(r io.Reader, size int64) (io.ReadCloser, error) {
	switch c {
	case xzStream:
		x, err := newXZReader(r, size)
		if err != nil {
			return nil, err
		}
		return io.NopCloser(x), nil
	case zstdStream:
		return newZstdReader(r, size)
	case bzip2Stream:
		return io.NopCloser(bzip2.NewReader(r)), nil
	case gzipStream:
		return gzip.NewReader(r)
	case brotliStream:
		return io.NopCloser(brotli.NewReader(r)), nil
	}
	return io.NopCloser(r), nil
}

func newZstdReader(r io.Reader, size int64) (io.ReadCloser, error) {
	b := bufio.NewReader(r)
	if err := shrinkZstdWindow(b, size); err != nil {
		return nil, err
	}
	z, err := zstd.NewReader(b, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(uint64(windowFor(size))))
	if err != nil {
		return nil, err
	}
	return z.IOReadCloser(), nil
}

// shrinkZstdWindow lowers the window that the first frame in b asks for to what size bytes can make use of: whoever
// wrote it as a stream did not know that it would be short. The descriptor is changed in b's buffer; no check sum covers it.
//
// Source: RFC 8878, 3.1.1.1.
func shrinkZstdWindow(b *bufio.Reader, size int64) error {
	const magic = "\x28\xb5\x2f\xfd"
	head, err := b.Peek(len(magic) + 2)
	if err != nil || string(head[:4]) != magic {
		return noEOF(err) // nil: the reader says what is wrong
	}
	if singleSegment := head[4]&0x20 != 0; singleSegment || roundUp(size) > maxWindow {
		return nil
	}
	exponent := byte(bits.Len64(uint64(roundUp(size))) - 1 - 10)
	head[5] = min(head[5], exponent<<3)
	return nil
}

// noEOF is for an end that comes too early.
func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
