package layer

import (
	"cmp"
	"encoding/binary"
	"strconv"
	"unicode/utf8"
)

const (
	blockSize  = 512
	recordSize = 20 * blockSize // Python and GNU tar pad a tar to a multiple of it
)

// Tar entry types.
const (
	typeRegular   = '0'
	typeSymlink   = '2'
	typeDirectory = '5'
	typePAX       = 'x'
)

// Header describes one entry of a tar. Text fields hold raw bytes. The name of a directory ends in "/".
type Header struct {
	Name         string
	Mode         int64 // the permissions
	UID, GID     int64
	Uname, Gname string
	MTime        int64 // Unix seconds
	Size         int64 // bytes

	link string
	typ  byte // 0 is a regular file
}

// Append appends the header blocks that Python's tarfile writes in its PAX format: an extended header if one is needed, then a
// ustar header. The ustar header has ASCII text with "?" for all other characters, an empty prefix field and NUL device fields.
//
// Source: CPython Lib/tarfile.py 3.9 to 3.13, TarInfo.create_pax_header and _create_header.
func (h *Header) Append(b []byte) []byte {
	if records := h.paxRecords(); len(records) > 0 {
		ext := Header{Name: "././@PaxHeader", typ: typePAX, Size: int64(len(records))}
		b = ext.appendUstar(b)
		b = append(b, records...)
		b = appendZeros(b, MemberEnd(int64(len(records))))
	}
	return h.appendUstar(b)
}

// paxLen is the number of bytes that Append appends.
func (h *Header) paxLen() int64 {
	n := int64(len(h.paxRecords()))
	if n == 0 {
		return blockSize
	}
	return 2*blockSize + n + MemberEnd(n)
}

func (h *Header) paxRecords() []byte {
	type record struct{ key, value string }
	var records []record
	texts := [...]struct {
		key, value string
		width      int
	}{{"path", h.Name, 100}, {"linkpath", h.link, 100}, {"uname", h.Uname, 32}, {"gname", h.Gname, 32}}
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
	}{{"uid", h.UID, 8}, {"gid", h.GID, 8}, {"size", h.Size, 12}, {"mtime", h.MTime, 12}}
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

func (h *Header) appendUstar(b []byte) []byte {
	start := len(b)
	b = appendText(b, h.Name, 100)
	b = appendOctal(b, h.Mode, 8)
	b = appendOctal(b, h.UID, 8)
	b = appendOctal(b, h.GID, 8)
	b = appendOctal(b, h.Size, 12)
	b = appendOctal(b, h.MTime, 12)
	b = append(b, "        "...)
	b = append(b, cmp.Or(h.typ, typeRegular))
	b = appendText(b, h.link, 100)
	b = append(b, "ustar\x0000"...)
	b = appendText(b, h.Uname, 32)
	b = appendText(b, h.Gname, 32)
	b = appendZeros(b, int64(start+blockSize-len(b)))
	checksum(b[start:])
	return b
}

// gnuMTime is 1980-01-01, the SOURCE_DATE_EPOCH of nixpkgs' stdenv. The time of the image is not used.
const gnuMTime = 315532800

// GNU tar's types for a name or link target that does not fit its field.
const (
	typeLongLink = 'K'
	typeLongName = 'L'
)

// appendGNU appends the entry that GNU tar writes for a directory or a symbolic link, with the options --sort=name
// --numeric-owner --owner=0 --group=0 --mtime=@315532800: GNU format, owner 0, no owner names, NUL device fields.
//
// Source: GNU tar 1.34, src/create.c, start_header and write_long_name.
func appendGNU(b []byte, name, target string, mode int64, typ byte) []byte {
	if len(target) > 100 {
		b = appendLong(b, target, typeLongLink)
	}
	if len(name) > 100 {
		b = appendLong(b, name, typeLongName)
	}
	return appendGNUBlock(b, name, target, mode, 0, gnuMTime, typ)
}

// setGNUOwner changes the numbers of the owner in the header that b ends with. A number above seven octal digits is binary.
//
// Source: GNU tar manual, "Basic Tar Format", on numbers in base 256.
func setGNUOwner(b []byte, uid, gid int64) {
	const uidAt, width = 108, 8
	block := b[len(b)-blockSize:]
	for i, n := range []int64{uid, gid} {
		field := block[uidAt+i*width:][:width]
		if fitsOctal(n, width) {
			appendOctal(field[:0], n, width)
			continue
		}
		binary.BigEndian.PutUint64(field, uint64(n)|1<<63)
	}
	copy(block[148:], "        ")
	checksum(block)
}

func appendLong(b []byte, text string, typ byte) []byte {
	size := int64(len(text)) + 1
	b = appendGNUBlock(b, "././@LongLink", "", 0o644, size, 0, typ)
	b = append(b, text...)
	return appendZeros(b, 1+MemberEnd(size))
}

func appendGNUBlock(b []byte, name, target string, mode, size, mtime int64, typ byte) []byte {
	start := len(b)
	b = appendBytes(b, name, 100)
	b = appendOctal(b, mode, 8)
	b = appendOctal(b, 0, 8)
	b = appendOctal(b, 0, 8)
	b = appendOctal(b, size, 12)
	b = appendOctal(b, mtime, 12)
	b = append(b, "        "...)
	b = append(b, typ)
	b = appendBytes(b, target, 100)
	b = append(b, "ustar  \x00"...)
	b = appendZeros(b, int64(start+blockSize-len(b)))
	checksum(b[start:])
	return b
}

func appendBytes(b []byte, s string, width int) []byte {
	if len(s) > width {
		s = s[:width]
	}
	b = append(b, s...)
	return appendZeros(b, int64(width-len(s)))
}

// appendText appends s in ASCII, with "?" for each other code point or invalid byte, cut or padded with NUL to width.
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

// appendOctal appends n in width-1 octal digits and a NUL. A number that does not fit is written as 0; the extended header has
// its value.
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

// checksum sets the checksum of a header block whose checksum field is eight spaces: six octal digits, NUL, space.
func checksum(block []byte) {
	sum := int64(0)
	for _, c := range block {
		sum += int64(c)
	}
	copy(block[148:], appendOctal(nil, sum, 7))
}

// ArchiveEnd is the number of zeros after n bytes of members, by which Python's tarfile and GNU tar end a tar.
func ArchiveEnd(n int64) int64 { return 2*blockSize + padding(n+2*blockSize, recordSize) }

// MemberEnd is the number of zeros after a member of n bytes.
func MemberEnd(n int64) int64 { return padding(n, blockSize) }

// padding is the number of bytes from n to the next multiple of unit.
func padding(n, unit int64) int64 { return (unit - n%unit) % unit }
