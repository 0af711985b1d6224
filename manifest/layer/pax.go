package layer

import (
	"strconv"
	"unicode/utf8"
)

const (
	blockSize  = 512
	recordSize = 20 * blockSize // both writers pad a tar to a multiple of this
)

// Tar entry types.
const (
	typeRegular   = '0'
	typeSymlink   = '2'
	typeDirectory = '5'
	typePAX       = 'x'
)

// header is one tar entry as Python's tarfile sees it: name and link are raw bytes, directories end in "/".
type header struct {
	name, link     string
	mode, uid, gid int64
	size, mtime    int64
	typ            byte
	uname, gname   string
}

// appendPAX appends the header blocks of Python's tarfile in its PAX format: an extended header if one is needed, then
// a ustar header whose text fields are ASCII with "?" for the rest, whose prefix field is never used, and whose device
// fields are NUL.
//
// Source: CPython Lib/tarfile.py 3.9 to 3.13, TarInfo.create_pax_header and _create_header.
func (h *header) appendPAX(b []byte) []byte {
	if records := h.paxRecords(); len(records) > 0 {
		ext := header{name: "././@PaxHeader", typ: typePAX, size: int64(len(records))}
		b = ext.appendUstar(b)
		b = append(b, records...)
		b = appendZeros(b, padding(int64(len(records)), blockSize))
	}
	return h.appendUstar(b)
}

// paxLen is the length of what appendPAX appends.
func (h *header) paxLen() int64 {
	n := int64(len(h.paxRecords()))
	if n == 0 {
		return blockSize
	}
	return 2*blockSize + n + padding(n, blockSize)
}

func (h *header) paxRecords() []byte {
	type record struct{ key, value string }
	var records []record
	texts := [...]struct {
		key, value string
		width      int
	}{{"path", h.name, 100}, {"linkpath", h.link, 100}, {"uname", h.uname, 32}, {"gname", h.gname, 32}}
	binary := false
	for _, t := range texts {
		if len(t.value) > t.width || !ascii(t.value) {
			records = append(records, record{t.key, t.value})
			binary = binary || !utf8.ValidString(t.value)
		}
	}
	numbers := [...]struct {
		key   string
		value int64
		width int
	}{{"uid", h.uid, 8}, {"gid", h.gid, 8}, {"size", h.size, 12}, {"mtime", h.mtime, 12}}
	for _, n := range numbers {
		if !fitsOctal(n.value, n.width) {
			records = append(records, record{n.key, strconv.FormatInt(n.value, 10)})
		}
	}
	var b []byte
	if binary {
		b = append(b, "21 hdrcharset=BINARY\n"...)
	}
	for _, r := range records {
		b = appendRecord(b, r.key, r.value)
	}
	return b
}

// appendRecord appends "<length> <key>=<value>\n", whose length counts its own digits.
func appendRecord(b []byte, key, value string) []byte {
	rest := len(key) + len(value) + 3
	n := rest
	for n != rest+len(strconv.Itoa(n)) {
		n = rest + len(strconv.Itoa(n))
	}
	b = strconv.AppendInt(b, int64(n), 10)
	b = append(b, ' ')
	b = append(b, key...)
	b = append(b, '=')
	b = append(b, value...)
	return append(b, '\n')
}

func (h *header) appendUstar(b []byte) []byte {
	start := len(b)
	b = appendText(b, h.name, 100)
	b = appendOctal(b, h.mode, 8)
	b = appendOctal(b, h.uid, 8)
	b = appendOctal(b, h.gid, 8)
	b = appendOctal(b, h.size, 12)
	b = appendOctal(b, h.mtime, 12)
	b = append(b, "        "...)
	b = append(b, h.typ)
	b = appendText(b, h.link, 100)
	b = append(b, "ustar\x0000"...)
	b = appendText(b, h.uname, 32)
	b = appendText(b, h.gname, 32)
	b = appendZeros(b, int64(start+blockSize-len(b)))
	checksum(b[start:])
	return b
}

// checksum fills in the checksum of a header block whose checksum field is blank: six octal digits, NUL, space.
func checksum(block []byte) {
	sum := int64(0)
	for _, c := range block {
		sum += int64(c)
	}
	copy(block[148:], appendOctal(nil, sum, 7))
}

// appendText appends s in ASCII, one "?" for each other code point or stray byte, cut or padded with NUL to width.
func appendText(b []byte, s string, width int) []byte {
	n := 0
	for i := 0; i < len(s) && n < width; n++ {
		r, size := utf8.DecodeRuneInString(s[i:])
		i += size
		if r >= utf8.RuneSelf {
			r = '?'
		}
		b = append(b, byte(r))
	}
	return appendZeros(b, int64(width-n))
}

// appendOctal appends n in width-1 octal digits and a NUL; a number that does not fit is written as 0, its value
// then stands in the extended header.
func appendOctal(b []byte, n int64, width int) []byte {
	if !fitsOctal(n, width) {
		n = 0
	}
	digits := strconv.FormatInt(n, 8)
	for range width - 1 - len(digits) {
		b = append(b, '0')
	}
	b = append(b, digits...)
	return append(b, 0)
}

func fitsOctal(n int64, width int) bool { return n >= 0 && n < 1<<(3*(width-1)) }

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

func appendZeros(b []byte, n int64) []byte {
	for range n {
		b = append(b, 0)
	}
	return b
}

// padding is how many bytes take n to a multiple of unit.
func padding(n, unit int64) int64 { return (unit - n%unit) % unit }
