package nixdb

import "encoding/binary"

// record builds a row in SQLite's record format: the types of all values, then the values. reset makes it ready for the next row.
//
// Source: https://www.sqlite.org/fileformat2.html, section 2.1.
type record struct {
	types, values []byte
	buf           []byte
}

func (r *record) reset() *record {
	r.types, r.values = r.types[:0], r.values[:0]
	return r
}

func (r *record) null() *record {
	r.types = append(r.types, 0)
	return r
}

// int adds an integer that is not negative, in the fewest bytes.
func (r *record) int(v int64) *record {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(v))
	size, kind := 8, byte(6)
	switch {
	case v <= 1: // the types 8 and 9 are the integers 0 and 1
		size, kind = 0, 8+byte(v)
	case v < 1<<7:
		size, kind = 1, 1
	case v < 1<<15:
		size, kind = 2, 2
	case v < 1<<23:
		size, kind = 3, 3
	case v < 1<<31:
		size, kind = 4, 4
	case v < 1<<47:
		size, kind = 6, 5
	}
	r.types = append(r.types, kind)
	r.values = append(r.values, b[8-size:]...)
	return r
}

func (r *record) text(s string) *record {
	r.types = appendVarint(r.types, 13+2*uint64(len(s)))
	r.values = append(r.values, s...)
	return r
}

// textOrNull adds NULL for "".
func (r *record) textOrNull(s string) *record {
	if s == "" {
		return r.null()
	}
	return r.text(s)
}

// bytes returns the record. The slice is valid until the next call.
func (r *record) bytes() []byte {
	r.buf = append(r.buf[:0], byte(1+len(r.types))) // the size includes its own byte; no row has enough columns to need a second one
	r.buf = append(r.buf, r.types...)
	r.buf = append(r.buf, r.values...)
	return r.buf
}

// appendVarint appends v as a SQLite varint: seven bits a byte, the highest first. v is below 2^56, so there are at most eight
// bytes; a ninth byte would hold eight bits.
func appendVarint(b []byte, v uint64) []byte {
	shift := 0
	for v>>shift >= 1<<7 {
		shift += 7
	}
	for ; shift > 0; shift -= 7 {
		b = append(b, 0x80|byte(v>>shift))
	}
	return append(b, byte(v&0x7f))
}
