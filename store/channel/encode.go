package channel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/nixreg/nixreg/store"
)

// errDamaged is matched by the error for a saved index that is damaged.
var errDamaged = errors.New("damaged index")

// encode returns x as bytes, the same for equal indexes. Numbers are unsigned varints. A list follows its length.
//
//	paths, attributes   number of bytes, all bytes, length of each
//	groups              number of names of each
//	names               attribute of each
//	group               of each path, without its length: there are as many as paths
//	kinds               as attributes; absent in format 1
//	groupKinds          of each group, without its length; absent in format 1
func (x *index) encode() []byte {
	size := len(x.paths.blob) + len(x.attributes.blob) + 4*(len(x.group)+len(x.names)) + 1<<10
	b := make([]byte, 0, size)
	b = appendTexts(b, &x.paths)
	b = appendTexts(b, &x.attributes)
	b = appendEnds(b, x.groupEnds[1:])
	b = appendNumbers(binary.AppendUvarint(b, uint64(len(x.names))), x.names)
	b = appendNumbers(b, x.group)
	return appendNumbers(appendTexts(b, &x.kinds), x.groupKinds)
}

func appendTexts(b []byte, t *texts) []byte {
	b = append(binary.AppendUvarint(b, uint64(len(t.blob))), t.blob...)
	return appendEnds(b, t.ends)
}

// appendEnds appends the number of ends and the distances between them.
func appendEnds(b []byte, ends []uint32) []byte {
	b = binary.AppendUvarint(b, uint64(len(ends)))
	last := uint32(0)
	for _, end := range ends {
		b = binary.AppendUvarint(b, uint64(end-last))
		last = end
	}
	return b
}

func appendNumbers(b []byte, numbers []uint32) []byte {
	for _, n := range numbers {
		b = binary.AppendUvarint(b, uint64(n))
	}
	return b
}

// decode reads the bytes of encode, or those of its earlier format 1. The strings of the index are parts of s. Anything else gives an
// error matching errDamaged.
func decode(s string, format int) (*index, error) {
	d := &decoder{rest: s}
	x := &index{paths: d.texts(maxPaths), attributes: d.texts(maxAttributes)}
	x.groupEnds = append([]uint32{0}, d.ends(maxPaths)...)
	last := len(x.groupEnds) - 1
	x.names = d.numbers(d.count(maxPairs), len(x.attributes.ends))
	x.group = d.numbers(len(x.paths.ends), last+1)
	if format > 1 {
		x.kinds = d.texts(maxPaths)
		x.groupKinds = d.numbers(last, len(x.kinds.ends))
	}
	if d.failed || len(d.rest) > 0 || len(x.paths.ends) == 0 || int(x.groupEnds[last]) != len(x.names) {
		return nil, errDamaged
	}
	for i := range x.paths.ends {
		if _, err := store.ParsePath(x.paths.at(i)); err != nil {
			return nil, fmt.Errorf("%w: %w", errDamaged, err)
		}
	}
	if err := x.check(); err != nil {
		return nil, fmt.Errorf("%w: %w", errDamaged, err)
	}
	return x, nil
}

// decoder reads numbers and strings from the front of rest. After a failure it returns zeros.
type decoder struct {
	rest   string
	failed bool
}

func (d *decoder) number() uint32 {
	n, shift := uint64(0), 0
	for i := 0; i < len(d.rest) && i < binary.MaxVarintLen32; i++ {
		c := d.rest[i]
		n |= uint64(c&0x7f) << shift
		if shift += 7; c < 0x80 {
			d.rest = d.rest[i+1:]
			d.failed = d.failed || n > 1<<32-1
			return uint32(n)
		}
	}
	d.failed, d.rest = true, ""
	return 0
}

// count reads the length of a list, at most limit. Each element has at least one byte.
func (d *decoder) count(limit int) int {
	n := int(d.number())
	if n > limit || n > len(d.rest) {
		d.failed, n = true, 0
	}
	return n
}

func (d *decoder) numbers(count, limit int) []uint32 {
	if count > len(d.rest) {
		d.failed = true
		return nil
	}
	out := make([]uint32, count)
	for i := range out {
		out[i] = d.number()
		d.failed = d.failed || int(out[i]) >= limit
	}
	return out
}

func (d *decoder) ends(limit int) []uint32 {
	out := make([]uint32, d.count(limit))
	end := uint64(0)
	for i := range out {
		end += uint64(d.number())
		out[i] = uint32(end)
	}
	d.failed = d.failed || end > 1<<32-1
	return out
}

func (d *decoder) texts(limit int) texts {
	size := d.count(math.MaxInt32)
	blob := d.rest[:size]
	d.rest = d.rest[size:]
	t := texts{blob, d.ends(limit)}
	if n := len(t.ends); n == 0 && size > 0 || n > 0 && int(t.ends[n-1]) != size {
		d.failed = true
	}
	return t
}
