package layer

// gnuMTime is 1980-01-01: the SOURCE_DATE_EPOCH of nixpkgs' stdenv, not the image's time.
const gnuMTime = 315532800

// GNU tar's types for a name or link target that does not fit its field.
const (
	typeLongLink = 'K'
	typeLongName = 'L'
)

// appendGNU appends an entry as `tar --sort=name --numeric-owner --owner=0 --group=0 --mtime=@315532800` of GNU tar
// writes a directory or a symbolic link: GNU format, owner 0, no owner names, NUL device fields.
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

func appendLong(b []byte, text string, typ byte) []byte {
	size := int64(len(text)) + 1
	b = appendGNUBlock(b, "././@LongLink", "", 0o644, size, 0, typ)
	b = append(b, text...)
	return appendZeros(b, 1+padding(size, blockSize))
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
