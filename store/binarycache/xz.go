package binarycache

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/ulikunitz/xz/lzma"
)

// xzReader reads a stream of xz blocks. It is here for one reason: each block names the size of its dictionary, up to
// 4 GiB, and the usual reader allocates what it names. Check sums and the index are passed over: what they would
// notice, the hash of the archive does.
//
// Source: The .xz File Format, version 1.2.0, 2.1.1 and 3.
type xzReader struct {
	r     *countedBytes
	check int64     // bytes of each block's check sum
	start int64     // of the block's data
	block io.Reader // nil before a block's header
}

const xzMagic = "\xfd7zXZ\x00"

func newXZReader(r io.Reader) (*xzReader, error) {
	x := &xzReader{r: &countedBytes{r: bufio.NewReaderSize(r, 64<<10)}}
	var head [12]byte // magic, two bytes of flags, check sum
	if _, err := io.ReadFull(x.r, head[:]); err != nil {
		return nil, noEOF(err)
	}
	if !bytes.HasPrefix(head[:], []byte(xzMagic)) || head[6] != 0 || head[7] > 15 {
		return nil, errors.New("not an xz stream")
	}
	if kind := head[7]; kind > 0 {
		x.check = 4 << ((kind - 1) / 3) // 4 for the first three kinds, 8 for the next three, …
	}
	return x, nil
}

// Read implements io.Reader.
func (x *xzReader) Read(b []byte) (int, error) {
	for {
		if x.block == nil {
			if err := x.open(); err != nil {
				return 0, err // io.EOF at the index
			}
		}
		n, err := x.block.Read(b)
		if err == io.EOF {
			x.block = nil
			err = x.skip(-(x.r.n-x.start)&3 + x.check)
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

// open reads a block's header. Where the index begins in its place it reads all that is left and returns io.EOF.
func (x *xzReader) open() error {
	size, err := x.r.ReadByte()
	if err != nil {
		return noEOF(err)
	}
	if size == 0 {
		if _, err := io.Copy(io.Discard, x.r); err != nil {
			return err
		}
		return io.EOF
	}
	head := make([]byte, (int(size)+1)*4-1)
	if _, err := io.ReadFull(x.r, head); err != nil {
		return noEOF(err)
	}
	dict, err := blockDictionary(head)
	if err != nil {
		return err
	}
	x.start = x.r.n
	block, err := lzma.Reader2Config{DictCap: dict}.NewReader2(x.r)
	if err != nil {
		return noEOF(err)
	}
	x.block = block
	return nil
}

// blockDictionary returns the size in bytes of the dictionary of a block whose header, but for its first byte, is head.
func blockDictionary(head []byte) (int, error) {
	flags, rest := head[0], head[1:]
	for _, sized := range []byte{0x40, 0x80} { // the block's compressed and uncompressed size, where they are given
		if flags&sized != 0 {
			last := slices.IndexFunc(rest, func(b byte) bool { return b < 0x80 })
			rest = rest[last+1:]
		}
	}
	if flags&0x3f != 0 || len(rest) < 3 || rest[0] != 0x21 || rest[1] != 1 {
		return 0, errors.New("a block with other filters than LZMA2")
	}
	dict, err := lzma.DecodeDictCap(rest[2])
	if err == nil && dict > maxWindow {
		err = fmt.Errorf("a dictionary of %d bytes, at most %d are allowed", dict, maxWindow)
	}
	return int(dict), err
}

func (x *xzReader) skip(n int64) error {
	_, err := io.CopyN(io.Discard, x.r, n)
	return noEOF(err)
}

// noEOF is for an end that comes too early.
func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// countedBytes counts what is read. It is an io.ByteReader, so that nobody reads ahead of what they need.
type countedBytes struct {
	r *bufio.Reader
	n int64
}

func (c *countedBytes) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += int64(n)
	return n, err
}

func (c *countedBytes) ReadByte() (byte, error) {
	b, err := c.r.ReadByte()
	if err == nil {
		c.n++
	}
	return b, err
}
