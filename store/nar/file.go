package nar

import (
	"bytes"
	"encoding/binary"
)

// File finds the contents of the one file in an archive of a single, not executable file, while the archive passes by. It checks
// the archive up to the contents; [ReadIndex] checks the rest. Not safe for concurrent use.
//
// Source: Nix manual, "Nix Archive (NAR) format".
type File struct {
	narSize int64
	want    []byte // the first bytes of such an archive
	head    []byte // the first bytes of this archive, up to the contents
	left    int64  // bytes of the contents that are still to come
	fits    bool   // the head is complete, and the sizes in it fit narSize
}

// NewFile returns a File for an archive of narSize bytes.
func NewFile(narSize int64) *File {
	var b []byte
	for _, s := range []string{"nix-archive-1", "(", "type", "regular", "contents"} {
		b = appendString(b, s)
	}
	return &File{narSize: narSize, want: b}
}

func appendString(b []byte, s string) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(len(s)))
	b = append(b, s...)
	return append(b, make([]byte, -len(s)&7)...)
}

// Contents takes the next bytes of the archive and returns those of them that are the file's contents.
func (f *File) Contents(b []byte) []byte {
	if more := min(len(f.want)+8-len(f.head), len(b)); more > 0 {
		f.head = append(f.head, b[:more]...)
		b = b[more:]
		if len(f.head) == len(f.want)+8 {
			f.checkHead()
		}
	}
	b = b[:min(int64(len(b)), f.left)]
	f.left -= int64(len(b))
	return b
}

// checkHead compares the size of the contents with that of the archive.
func (f *File) checkHead() {
	size := binary.LittleEndian.Uint64(f.head[len(f.want):])
	tail := uint64(len(appendString(nil, ")")))
	if bytes.HasPrefix(f.head, f.want) && size <= uint64(f.narSize) {
		f.fits = uint64(len(f.head))+(size+7)&^7+tail == uint64(f.narSize)
	}
	if f.fits {
		f.left = int64(size)
	}
}

// Complete reports whether the archive holds such a file, and all of its contents have passed.
func (f *File) Complete() bool { return f.fits && f.left == 0 }
