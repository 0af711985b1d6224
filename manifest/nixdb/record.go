package nixdb

import "encoding/binary"

// record is one row in SQLite's record format: the types of all values, then the values. It is used again after reset.
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
	case v <= 1: // 0 and 1 are types of their own
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

// bytes returns the whole record. It is good until the next call.
func (r *record) bytes() []byte {
	r.buf = append(r.buf[:0], byte(1+len(r.types))) // counts itself; no row has so many columns that it needs a second byte
	r.buf = append(r.buf, r.types...)
	r.buf = append(r.buf, r.values...)
	return r.buf
}

// appendVarint adds v, seven bits a byte, the highest first. SQLite's ninth byte would hold eight; v is below 2^56, so
// that there are eight at most.
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
