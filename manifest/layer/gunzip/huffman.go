package gunzip

import "math/bits"

// maxCode is the longest code of deflate, in bits.
const maxCode = 15

// primaryBits is the number of bits of a first lookup. Longer codes need a second one.
const primaryBits = 10

// An entry of a table has the length of the code in its low five bits, and the symbol above them. The length is 0 if the bits
// are no code. In a link to a second table the length is linked, and the start of that table stands in place of the symbol.
const (
	lengthBits = 5
	lengthMask = 1<<lengthBits - 1
	linked     = lengthMask
)

// table decodes the codes of one alphabet. The next primaryBits bits, the first one lowest, index its first entries.
type table struct {
	entries []uint32
	more    uint // bits of the second lookup
}

// build makes the table of the canonical code with these lengths. It reports whether the code is complete: every string of bits
// must have a meaning. Like other decoders it also accepts an empty code, and a single code of one bit.
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

// insert enters a code, its first bit lowest, at every index that starts with it.
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

// find returns the entry of the code at the start of b.
func (t *table) find(b uint64) uint32 {
	e := t.entries[b&(1<<primaryBits-1)]
	if e&lengthMask == linked {
		e = t.entries[uint64(e>>lengthBits)+b>>primaryBits&(1<<t.more-1)]
	}
	return e
}
