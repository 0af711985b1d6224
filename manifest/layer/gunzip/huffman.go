package gunzip

import "math/bits"

// maxCode is the longest code of deflate, in bits.
const maxCode = 15

// primaryBits is how many bits the first look at a table takes; longer codes need a second look.
const primaryBits = 10

// A table's entry has the length of the code in its low five bits, 0 for a code that is none, and above them the symbol;
// a link to a second table has the length linked and the place where that table starts.
const (
	lengthBits = 5
	lengthMask = 1<<lengthBits - 1
	linked     = lengthMask
)

// table decodes the codes of one alphabet: its first 1<<primaryBits entries by the next bits, which come last bit first.
type table struct {
	entries []uint32
	more    uint // bits of the second look
}

// build makes the table of a canonical code from the lengths of its symbols' codes, and reports whether there is such a
// code: all bit strings must mean something. Two exceptions are made, as everywhere: no code at all, and a single one
// of one bit.
//
// Source: RFC 1951, section 3.2.2.
func (t *table) build(lengths []uint8) bool {
	var count [maxCode + 1]int
	longest := uint(0)
	for _, l := range lengths {
		count[l]++
		longest = max(longest, uint(l))
	}
	count[0] = 0
	var next [maxCode + 1]int
	code, codes := 0, 0
	for l := uint(1); l <= longest; l++ {
		code = (code + count[l-1]) << 1
		next[l] = code
		codes += count[l] << (longest - l)
	}
	single := codes == 1 && longest == 1
	if longest > 0 && codes != 1<<longest && !single {
		return false
	}
	t.reset(longest)
	for symbol, l := range lengths {
		if l > 0 {
			t.insert(uint32(symbol), uint(l), bits.Reverse16(uint16(next[l]))>>(16-l))
			next[l]++
		}
	}
	return true
}

func (t *table) reset(longest uint) {
	t.more = 0
	if longest > primaryBits {
		t.more = longest - primaryBits
	}
	if t.entries == nil {
		t.entries = make([]uint32, 1<<primaryBits, 4<<primaryBits)
	}
	t.entries = t.entries[:1<<primaryBits]
	clear(t.entries)
}

// insert enters a code, first bit lowest, wherever the bits that follow it may lead.
func (t *table) insert(symbol uint32, length uint, code uint16) {
	entry := symbol<<lengthBits | uint32(length)
	if length <= primaryBits {
		for i := int(code); i < 1<<primaryBits; i += 1 << length {
			t.entries[i] = entry
		}
		return
	}
	first := &t.entries[code&(1<<primaryBits-1)]
	if *first == 0 {
		*first = uint32(len(t.entries))<<lengthBits | linked
		t.entries = append(t.entries, make([]uint32, 1<<t.more)...)
		first = &t.entries[code&(1<<primaryBits-1)]
	}
	second := t.entries[*first>>lengthBits:][:1<<t.more]
	for i := int(code >> primaryBits); i < len(second); i += 1 << (length - primaryBits) {
		second[i] = entry
	}
}

// find returns the entry of the code that bits start with.
func (t *table) find(b uint64) uint32 {
	e := t.entries[b&(1<<primaryBits-1)]
	if e&lengthMask == linked {
		e = t.entries[uint64(e>>lengthBits)+b>>primaryBits&(1<<t.more-1)]
	}
	return e
}
