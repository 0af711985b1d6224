package gunzip

import (
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
)

const (
	windowSize = 32 << 10 // the greatest distance of a match
	outputSize = windowSize + 128<<10
	inputSize  = 64 << 10
	maxMatch   = 258
)

var (
	errNotGzip  = fmt.Errorf("not gzip: %w", fs.ErrInvalid)
	errChecksum = fmt.Errorf("gzip: wrong checksum: %w", fs.ErrInvalid)
	errCorrupt  = fmt.Errorf("gzip: corrupt data: %w", fs.ErrInvalid)
)

// inflater decodes deflate streams block by block. The decoded bytes are out[read:write]. The bytes before them are the window.
//
// Source: RFC 1951.
type inflater struct {
	src  io.Reader
	in   []byte // in[next:] is not read yet
	next int
	pos  int64 // the offset of the end of in in the source
	err  error // of the source

	acc  uint64 // nacc bits that were taken from in and not used yet, the next one lowest
	nacc uint

	out         []byte
	read, write int

	state  blockState
	final  bool
	stored int // remaining bytes of a stored block
	codes  [2]table
	fixed  bool // codes hold the fixed codes
}

type blockState uint8

const (
	betweenBlocks blockState = iota
	inStored
	inCompressed
	streamEnded
)

func newInflater(src io.Reader) *inflater {
	return &inflater{src: src, in: make([]byte, 0, inputSize), out: make([]byte, outputSize)}
}

// restart begins another stream with an empty window. All decoded bytes must have been read.
func (f *inflater) restart() {
	f.state, f.final, f.read, f.write = betweenBlocks, false, 0, 0
}

// bit returns the offset of the next bit in the source.
func (f *inflater) bit() int64 { return (f.pos-int64(len(f.in)-f.next))*8 - int64(f.nacc) }

// fill takes bits from the input until acc has n of them or the input ends. n is at most 56.
func (f *inflater) fill(n uint) {
	if len(f.in)-f.next >= 8 {
		f.acc |= binary.LittleEndian.Uint64(f.in[f.next:]) << f.nacc
		taken := (63 - f.nacc) >> 3
		f.next += int(taken)
		f.nacc += taken * 8
		f.acc &= 1<<f.nacc - 1 // nacc is at most 63
		return
	}
	for f.nacc < n {
		if f.next == len(f.in) && !f.more() {
			return
		}
		f.acc |= uint64(f.in[f.next]) << f.nacc
		f.next++
		f.nacc += 8
	}
}

// more reads input. It reports whether there was any.
func (f *inflater) more() bool {
	for empty := 0; f.err == nil; empty++ {
		var n int
		n, f.err = f.src.Read(f.in[:cap(f.in)])
		f.in, f.next = f.in[:n], 0
		f.pos += int64(n)
		if n > 0 {
			return true
		}
		if empty == 100 {
			f.err = io.ErrNoProgress
		}
	}
	return false
}

// short returns the error of input that ends too early.
func (f *inflater) short() error {
	if f.err == nil {
		return errCorrupt
	}
	return unexpected(f.err)
}

// bits takes n bits. n is at most 32.
func (f *inflater) bits(n uint) (uint32, error) {
	if f.nacc < n {
		f.fill(n)
		if f.nacc < n {
			return 0, f.short()
		}
	}
	v := uint32(f.acc & (1<<n - 1))
	f.acc >>= n
	f.nacc -= n
	return v, nil
}

// align skips the remaining bits of a byte.
func (f *inflater) align() {
	f.acc >>= f.nacc % 8
	f.nacc -= f.nacc % 8
}

// slide makes room in the output when all of it was read.
func (f *inflater) slide() {
	if f.read == f.write && f.write > windowSize {
		copy(f.out, f.out[f.write-windowSize:f.write])
		f.read, f.write = windowSize, windowSize
	}
}

// symbol decodes one symbol by a table.
func (f *inflater) symbol(t *table) (uint32, error) {
	if f.nacc < maxCode {
		f.fill(maxCode)
	}
	e := t.find(f.acc)
	n := uint(e & lengthMask)
	if n == 0 || n > f.nacc {
		return 0, f.noCode(n)
	}
	f.acc >>= n
	f.nacc -= n
	return e >> lengthBits, nil
}

// noCode returns the error of bits that are no code, n bits long: the input is corrupt or ends too early.
func (f *inflater) noCode(n uint) error {
	if n > f.nacc || f.nacc < maxCode && f.err != nil {
		return f.short()
	}
	return errCorrupt
}

// unexpected returns err, or [io.ErrUnexpectedEOF] for [io.EOF].
func unexpected(err error) error {
	if err == io.EOF {
		return fmt.Errorf("gzip: %w: %w", io.ErrUnexpectedEOF, fs.ErrInvalid)
	}
	return err
}
