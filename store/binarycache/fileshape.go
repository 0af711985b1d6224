package binarycache

import (
	"bytes"
	"encoding/binary"
)

// fileShape finds the contents of a file in the bytes of an archive that holds just this one, not executable. That the
// archive is well formed behind the contents is for parseNAR to see.
//
// Source: Nix manual, "Nix Archive (NAR) format".
type fileShape struct {
	narSize int64
	want    []byte // what such an archive begins with
	head    []byte // what this one begins with, up to the first byte of the contents
	left    int64  // bytes of the contents that did not come yet
	fits    bool   // the head is that of such an archive of narSize bytes
}

func newFileShape(narSize int64) *fileShape {
	var b []byte
	for _, s := range []string{"nix-archive-1", "(", "type", "regular", "contents"} {
		b = appendNARString(b, s)
	}
	return &fileShape{narSize: narSize, want: b}
}

func appendNARString(b []byte, s string) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(len(s)))
	b = append(b, s...)
	return append(b, make([]byte, -len(s)&7)...)
}

// contents returns the part of b, the next bytes of the archive, that is contents of the file.
func (f *fileShape) contents(b []byte) []byte {
	if more := min(len(f.want)+8-len(f.head), len(b)); more > 0 {
		f.head = append(f.head, b[:more]...)
		b = b[more:]
		if len(f.head) == len(f.want)+8 {
			f.begin()
		}
	}
	b = b[:min(int64(len(b)), f.left)]
	f.left -= int64(len(b))
	return b
}

// begin looks at the head, which is complete.
func (f *fileShape) begin() {
	size := binary.LittleEndian.Uint64(f.head[len(f.want):])
	tail := uint64(len(appendNARString(nil, ")")))
	if bytes.HasPrefix(f.head, f.want) && size <= uint64(f.narSize) {
		f.fits = uint64(len(f.head))+(size+7)&^7+tail == uint64(f.narSize)
	}
	if f.fits {
		f.left = int64(size)
	}
}

// whole reports whether the archive was such a one and the contents came to their end.
func (f *fileShape) whole() bool { return f.fits && f.left == 0 }
