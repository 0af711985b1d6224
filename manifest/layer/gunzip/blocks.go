package gunzip

// endOfBlock is the symbol that ends a block.
const endOfBlock = 256

// What the symbols of lengths, from 257 on, and of distances stand for, and how many bits follow them.
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

// fixedLiterals are the lengths of the fixed code.
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

func fixedDistances() []uint8 {
	lengths := make([]uint8, 32)
	for i := range lengths {
		lengths[i] = 5
	}
	return lengths
}

// dynamicHeader reads the codes of a block.
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

// codeLengths reads lengths, with the code that codes[0] has for them.
func (f *inflater) codeLengths(lengths []uint8) error {
	for i := 0; i < len(lengths); {
		f.fill(maxCode)
		e := f.codes[0].find(f.acc)
		n := uint(e & lengthMask)
		if n == 0 || n > f.nacc {
			return f.noCode(n)
		}
		f.acc >>= n
		f.nacc -= n
		symbol := e >> lengthBits
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
