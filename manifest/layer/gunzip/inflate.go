package gunzip

import (
	"encoding/binary"
	"io"
)

const (
	windowSize = 32 << 10 // how far back deflate refers
	outputSize = windowSize + 128<<10
	inputSize  = 64 << 10
	maxMatch   = 258
)

// inflater decodes deflate streams, block by block. What it decoded lies in out[read:write]; the bytes before are the
// window.
//
// Source: RFC 1951.
type inflater struct {
	src  io.Reader
	in   []byte // input[next:] is to come
	next int
	pos  int64 // of the end of in, in the source
	err  error // of the source

	acc  uint64 // bits that were taken from in and not yet used, the next one lowest
	nacc uint

	out         []byte
	read, write int

	state  blockState
	final  bool
	stored int // bytes left of a stored block
	codes  [2]table
	fixed  bool // codes are the fixed ones
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

// restart begins another stream with an empty window. All that was decoded must have been read.
func (f *inflater) restart() {
	f.state, f.final, f.read, f.write = betweenBlocks, false, 0, 0
}

// bit is the place of the next bit in the source.
func (f *inflater) bit() int64 { return (f.pos-int64(len(f.in)-f.next))*8 - int64(f.nacc) }

// fill takes bits from the input until there are at least n, at most 56; fewer at its end.
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

// more reads input, and reports whether there was any.
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

// short is the error of input that ends too early.
func (f *inflater) short() error {
	if f.err == nil {
		return errCorrupt
	}
	return unexpected(f.err)
}

// bits takes n bits, at most 32.
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

// align passes over the rest of a byte.
func (f *inflater) align() {
	f.acc >>= f.nacc % 8
	f.nacc -= f.nacc % 8
}

// step decodes more: until the output is nearly full, or up to the end of a block, whichever comes first.
func (f *inflater) step() error {
	switch f.state {
	case betweenBlocks:
		if f.final {
			f.state = streamEnded
			return nil
		}
		return f.header()
	case inStored:
		return f.copyStored()
	case inCompressed:
		return f.decode()
	}
	return nil
}

// slide makes room in the output, once all of it was read.
func (f *inflater) slide() {
	if f.read == f.write && f.write > windowSize {
		copy(f.out, f.out[f.write-windowSize:f.write])
		f.read, f.write = windowSize, windowSize
	}
}

// full reports whether there is no room for another match.
func (f *inflater) full() bool { return f.write > len(f.out)-maxMatch }

func (f *inflater) header() error {
	v, err := f.bits(3)
	if err != nil {
		return err
	}
	f.final = v&1 == 1
	switch v >> 1 {
	case 0:
		return f.storedHeader()
	case 1:
		f.state = inCompressed
		if !f.fixed {
			f.fixed = f.codes[0].build(fixedLiterals()) && f.codes[1].build(fixedDistances())
		}
		return nil
	case 2:
		f.state, f.fixed = inCompressed, false
		return f.dynamicHeader()
	}
	return errCorrupt
}

func (f *inflater) storedHeader() error {
	f.align()
	v, err := f.bits(32)
	if err != nil {
		return err
	}
	if v&0xffff != ^v>>16 {
		return errCorrupt
	}
	f.state, f.stored = inStored, int(v&0xffff)
	return nil
}

func (f *inflater) copyStored() error {
	for f.nacc > 0 && f.stored > 0 && f.write < len(f.out) {
		f.out[f.write] = byte(f.acc)
		f.write, f.stored = f.write+1, f.stored-1
		f.acc >>= 8
		f.nacc -= 8
	}
	for f.stored > 0 && f.write < len(f.out) {
		if f.next == len(f.in) && !f.more() {
			return f.short()
		}
		n := copy(f.out[f.write:], f.in[f.next:min(len(f.in), f.next+f.stored)])
		f.write, f.next, f.stored = f.write+n, f.next+n, f.stored-n
	}
	if f.stored == 0 {
		f.state = betweenBlocks
	}
	return nil
}

// decode decodes symbols of a compressed block.
func (f *inflater) decode() error {
	const most = 48 // bits of a length and a distance
	for !f.full() {
		if f.nacc < most {
			f.fill(most)
		}
		e := f.codes[0].find(f.acc)
		n := uint(e & lengthMask)
		if n == 0 || n > f.nacc {
			return f.noCode(n)
		}
		f.acc >>= n
		f.nacc -= n
		symbol := e >> lengthBits
		if symbol < 256 {
			f.out[f.write] = byte(symbol)
			f.write++
			continue
		}
		if symbol == endOfBlock {
			f.state = betweenBlocks
			return nil
		}
		length, distance, err := f.match(symbol - 257)
		if err != nil {
			return err
		}
		f.repeat(length, distance)
	}
	return nil
}

// noCode is the error of bits that are no code: there are none, or there are too few.
func (f *inflater) noCode(n uint) error {
	if n > f.nacc || f.nacc < maxCode && f.err != nil {
		return f.short()
	}
	return errCorrupt
}

// match reads the rest of a match, whose length has a symbol. All its bits are in the accumulator, or there are none.
func (f *inflater) match(symbol uint32) (length, distance int, err error) {
	if int(symbol) >= len(lengthBase) {
		return 0, 0, errCorrupt
	}
	more, err := f.bits(uint(lengthExtra[symbol]))
	if err != nil {
		return 0, 0, err
	}
	length = int(lengthBase[symbol]) + int(more)
	if f.nacc < maxCode {
		f.fill(maxCode)
	}
	e := f.codes[1].find(f.acc)
	n := uint(e & lengthMask)
	if n == 0 || n > f.nacc {
		return 0, 0, f.noCode(n)
	}
	f.acc >>= n
	f.nacc -= n
	symbol = e >> lengthBits
	if int(symbol) >= len(distanceBase) {
		return 0, 0, errCorrupt
	}
	more, err = f.bits(uint(distanceExtra[symbol]))
	distance = int(distanceBase[symbol]) + int(more)
	if err == nil && distance > f.write {
		err = errCorrupt
	}
	return length, distance, err
}

// repeat writes a match, which may overlap itself.
func (f *inflater) repeat(length, distance int) {
	to := f.out[f.write : f.write+length]
	from := f.write - distance
	if distance >= length {
		copy(to, f.out[from:])
	} else {
		for n := copy(to, f.out[from:f.write]); n < length; {
			n += copy(to[n:], to[:n]) // n is a multiple of distance, but for the last time
		}
	}
	f.write += length
}
