package nar

import (
	"bufio"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"math/bits"
	"slices"

	"github.com/mikelolasagasti/xz"
)

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
