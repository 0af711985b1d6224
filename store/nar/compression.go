package nar

import (
	"bufio"
	"compress/bzip2"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/bits"
	"slices"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
	"github.com/mikelolasagasti/xz"
	"github.com/pierrec/lz4/v4"
	"github.com/ulikunitz/xz/lzma"
)

// Compression is the format in which an archive is stored, in the spelling of narinfo files.
//
// Source: Nix, libutil/compression.cc.
type Compression string

const (
	None   Compression = "none"
	XZ     Compression = "xz"
	Zstd   Compression = "zstd"
	Bzip2  Compression = "bzip2"
	Gzip   Compression = "gzip"
	Brotli Compression = "br" // Nix writes and reads no other spelling
	LZ4    Compression = "lz4"
	LZMA   Compression = "lzma" // the format of xz's predecessor
)

// ParseCompression reads the value of a narinfo's Compression; "" is bzip2. An unknown one gives an error matching
// [errors.ErrUnsupported].
func ParseCompression(s string) (Compression, error) {
	switch c := Compression(s); c {
	case None, XZ, Zstd, Bzip2, Gzip, Brotli, LZ4, LZMA:
		return c, nil
	case "":
		return Bzip2, nil
	}
	return "", unreadableError(s)
}

// unreadableError is about a compression that is not read. It matches [errors.ErrUnsupported]. Clients may read its text.
type unreadableError string

func (e unreadableError) Error() string {
	return fmt.Sprintf("compression %.100q: nixreg reads none, xz, zstd, gzip, bzip2, br, lz4 and lzma", string(e))
}

func (e unreadableError) Public() string       { return "its archive has the " + e.Error() }
func (e unreadableError) Is(target error) bool { return target == errors.ErrUnsupported }

const (
	// MaxWindow is the largest window of xz and zstd, in bytes. zstd -19 and xz -9 need 8 and 64 MiB.
	MaxWindow = 128 << 20
	// minWindow is the bound for the smallest archive.
	minWindow = 8 << 20
	// maxBrotliWindow is the bound of the format. The decoder does not read the extension "large window".
	maxBrotliWindow = 16 << 20
	// maxLZ4Block is the largest block of the format.
	maxLZ4Block = 4 << 20
)

// windowFor is the largest window, in bytes, that a stream of size unpacked bytes may ask for. A window larger than the stream
// is of no use.
func windowFor(size int64) int64 { return min(max(minWindow, roundUp(size)), MaxWindow) }

// roundUp returns the power of two that is n or follows it, at least 4 KiB.
func roundUp(n int64) int64 {
	if n <= 4<<10 {
		return 4 << 10
	}
	return 1 << min(bits.Len64(uint64(n-1)), 62)
}

// Window is the most memory that the window of a decompressor takes for size unpacked bytes, in bytes. The blocks of bzip2 and
// the 32 KiB of gzip are not counted.
func (c Compression) Window(size int64) int64 {
	switch c {
	case XZ, Zstd, LZMA:
		return windowFor(size)
	case LZ4:
		return maxLZ4Block
	case Brotli:
		return maxBrotliWindow
	}
	return 0
}

// Open returns a reader of the size unpacked bytes that are stored in r. Its memory is bounded, see [Compression.Window]. The
// caller closes it, which does not close r. Malformed input gives errors of any kind, or a panic.
func (c Compression) Open(r io.Reader, size int64) (io.ReadCloser, error) {
	switch c {
	case XZ:
		x, err := newXZReader(r, size)
		if err != nil {
			return nil, err
		}
		return io.NopCloser(x), nil
	case Zstd:
		return newZstdReader(r, size)
	case Bzip2:
		return io.NopCloser(bzip2.NewReader(r)), nil
	case Gzip:
		return gzip.NewReader(r)
	case Brotli:
		return io.NopCloser(brotli.NewReader(r)), nil
	case LZ4:
		return io.NopCloser(lz4.NewReader(r)), nil
	case LZMA:
		x, err := newLZMAReader(r, size)
		if err != nil {
			return nil, err
		}
		return io.NopCloser(x), nil
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

// shrinkZstdWindow lowers the window of the first frame in b to what size bytes can use. A stream of unknown length asks for the
// window of a long one. The descriptor is changed in b's buffer; no checksum covers it.
//
// Source: RFC 8878, 3.1.1.1.
func shrinkZstdWindow(b *bufio.Reader, size int64) error {
	const magic = "\x28\xb5\x2f\xfd"
	head, err := b.Peek(len(magic) + 2)
	if err != nil || string(head[:4]) != magic {
		return noEOF(err) // nil: the reader says what is wrong
	}
	if singleSegment := head[4]&0x20 != 0; singleSegment || roundUp(size) > MaxWindow {
		return nil
	}
	exponent := byte(bits.Len64(uint64(roundUp(size))) - 1 - 10)
	head[5] = min(head[5], exponent<<3)
	return nil
}

// noEOF makes [io.ErrUnexpectedEOF] of [io.EOF].
func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

const (
	xzMagic      = "\xfd7zXZ\x00"
	xzStreamHead = 12 // bytes: magic, flags, checksum
)

var errFilters = errors.New("a block with other filters than LZMA2")

// newXZReader reads the size unpacked bytes of an xz stream, or of several in a row. The decoder allocates the dictionary that the
// first block names, up to 4 GiB, at once. So the dictionary is lowered to what size bytes can use.
func newXZReader(r io.Reader, size int64) (io.Reader, error) {
	b := bufio.NewReaderSize(r, 64<<10)
	if err := shrinkXZDictionary(b, size); err != nil {
		return nil, err
	}
	return xz.NewReader(b, uint32(windowFor(size)))
}

// shrinkXZDictionary lowers the dictionary of the first block, in b's buffer, to what size bytes can use. It refuses blocks with
// filters, which Nix never writes.
//
// Source: The .xz File Format, version 1.2.0, 2.1.1 and 3.1.
func shrinkXZDictionary(b *bufio.Reader, size int64) error {
	head, err := b.Peek(xzStreamHead + 1)
	if err != nil {
		return noEOF(err)
	}
	if string(head[:len(xzMagic)]) != xzMagic {
		return errors.New("not an xz stream")
	}
	blockHead := int(head[xzStreamHead]) * 4 // without its checksum
	if blockHead == 0 {
		return nil // no block: the index begins here
	}
	if head, err = b.Peek(xzStreamHead + blockHead + 4); err != nil {
		return noEOF(err)
	}
	head = head[xzStreamHead:]
	sum := head[blockHead:]
	if crc32.ChecksumIEEE(head[:blockHead]) != binary.LittleEndian.Uint32(sum) {
		return errors.New("checksum of a block's header is wrong")
	}
	at, err := dictionaryAt(head[:blockHead])
	if err != nil {
		return err
	}
	if want := xzDictionary(size); head[at] > want {
		head[at] = want
		binary.LittleEndian.PutUint32(sum, crc32.ChecksumIEEE(head[:blockHead]))
	}
	return nil
}

// dictionaryAt returns the place of the dictionary's size in a block's header, which is given without its checksum.
func dictionaryAt(head []byte) (int, error) {
	flags, at := head[1], 2
	for _, sized := range []byte{0x40, 0x80} { // the block's compressed and uncompressed size, where they are given
		if flags&sized != 0 {
			at += slices.IndexFunc(head[at:], func(b byte) bool { return b < 0x80 }) + 1
		}
	}
	const lzma2 = 0x21
	if flags&0x3f != 0 || len(head)-at < 3 || head[at] != lzma2 || head[at+1] != 1 {
		return 0, errFilters
	}
	return at + 2, nil
}

// xzDictionary is the code of the smallest dictionary, a power of two, that holds size bytes, or of the largest allowed one.
func xzDictionary(size int64) byte {
	return byte(bits.Len64(uint64(min(roundUp(size), 2*MaxWindow)))-1-12) * 2
}

// newLZMAReader reads the size unpacked bytes of an LZMA stream. The decoder allocates the dictionary that the header names, up to
// 4 GiB, at once. So the dictionary is lowered to what size bytes can use.
//
// Source: XZ Utils, doc/lzma-file-format.txt: properties, dictionary size, uncompressed size.
func newLZMAReader(r io.Reader, size int64) (io.Reader, error) {
	b := bufio.NewReaderSize(r, 64<<10)
	head, err := b.Peek(lzma.HeaderLen)
	if err != nil {
		return nil, noEOF(err)
	}
	dictionary := head[1:5]
	binary.LittleEndian.PutUint32(dictionary, min(binary.LittleEndian.Uint32(dictionary), uint32(windowFor(size))))
	return lzma.NewReader(b)
}
