package gunzip

// endOfBlock is the symbol that ends a block.
const endOfBlock = 256

// The smallest length of each symbol from 257 on, the smallest distance of each symbol, and the number of bits that follow and
// are added.
//
// Source: RFC 1951, section 3.2.5.
var (
	lengthBase = [...]uint16{
		3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258,
	}
	lengthExtra = [...]uint8{
		0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0,
	}
	distanceBase = [...]uint16{
		1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145,
		8193, 12289, 16385, 24577,
	}
	distanceExtra = [...]uint8{
		0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13,
	}
)

// fixedLiterals returns the lengths of the fixed code of literals and lengths.
//
// Source: RFC 1951, section 3.2.6.
func fixedLiterals() []uint8 {
	lengths := make([]uint8, 288)
	for i := range lengths {
		switch {
		case i < 144:
			lengths[i] = 8
		case i < 256:
			lengths[i] = 9
		case i < 280:
			lengths[i] = 7
		default:
			lengths[i] = 8
		}
	}
	return lengths
}

// fixedDistances returns the lengths of the fixed code of distances.
func fixedDistances() []uint8 {
	lengths := make([]uint8, 32)
	for i := range lengths {
		lengths[i] = 5
	}
	return lengths
}

// step decodes until the output is nearly full or the block ends.
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

// copyStored copies a stored block, first the bytes in the accumulator.
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
	const most = 48                      // bits of a length and a distance, at most
	for f.write <= len(f.out)-maxMatch { // there is room for another match
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

// dynamicHeader reads the codes of a dynamic block.
//
// Source: RFC 1951, section 3.2.7.
func (f *inflater) dynamicHeader() error {
	v, err := f.bits(14)
	if err != nil {
		return err
	}
	literals, distances, codes := int(v&31)+257, int(v>>5&31)+1, int(v>>10)+4
	if literals > 286 || distances > len(distanceBase) {
		return errCorrupt
	}
	order := [...]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}
	var ofLengths [len(order)]uint8
	for _, at := range order[:codes] {
		v, err := f.bits(3)
		if err != nil {
			return err
		}
		ofLengths[at] = uint8(v)
	}
	if !f.codes[0].build(ofLengths[:]) {
		return errCorrupt
	}
	var lengths [286 + len(distanceBase)]uint8
	if err := f.codeLengths(lengths[:literals+distances]); err != nil {
		return err
	}
	if lengths[endOfBlock] == 0 || !f.codes[0].build(lengths[:literals]) || !f.codes[1].build(lengths[literals:literals+distances]) {
		return errCorrupt
	}
	return nil
}

// codeLengths reads the lengths of codes. They are encoded by codes[0].
func (f *inflater) codeLengths(lengths []uint8) error {
	for i := 0; i < len(lengths); {
		symbol, err := f.symbol(&f.codes[0])
		if err != nil {
			return err
		}
		if symbol < 16 {
			lengths[i] = uint8(symbol)
			i++
			continue
		}
		repeat := [...]struct{ base, extra uint }{{3, 2}, {3, 3}, {11, 7}}[symbol-16]
		more, err := f.bits(repeat.extra)
		if err != nil {
			return err
		}
		end := i + int(repeat.base) + int(more)
		if end > len(lengths) || symbol == 16 && i == 0 {
			return errCorrupt
		}
		for ; i < end; i++ {
			if symbol == 16 {
				lengths[i] = lengths[i-1]
			}
		}
	}
	return nil
}

// match reads the length and the distance of a match. symbol is that of the length, less 257. The accumulator has all bits of
// the match, unless the input ends.
func (f *inflater) match(symbol uint32) (length, distance int, err error) {
	if int(symbol) >= len(lengthBase) {
		return 0, 0, errCorrupt
	}
	more, err := f.bits(uint(lengthExtra[symbol]))
	if err != nil {
		return 0, 0, err
	}
	length = int(lengthBase[symbol]) + int(more)
	if symbol, err = f.symbol(&f.codes[1]); err != nil {
		return 0, 0, err
	}
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

// repeat writes a match. It may overlap itself.
func (f *inflater) repeat(length, distance int) {
	to := f.out[f.write : f.write+length]
	from := f.write - distance
	if distance >= length {
		copy(to, f.out[from:])
	} else {
		for n := copy(to, f.out[from:f.write]); n < length; {
			n += copy(to[n:], to[:n]) // n is a multiple of distance, except after the last copy
		}
	}
	f.write += length
}
