package nixdb

import (
	"encoding/binary"
	"errors"
	"fmt"
)

const (
	pageSize   = 4096
	maxPages   = 1 << 16 // 256 MiB, below the page at 1 GiB that SQLite locks and that must be empty
	fileHeader = 100
)

// file is a SQLite database that is being written. Its first page is reserved for the header and the schema.
type file struct {
	bytes []byte
	full  bool // there are too many pages: the file is useless
}

// newFile makes a file of about size bytes.
func newFile(size int) *file {
	return &file{bytes: make([]byte, pageSize, min(max(size, pageSize), maxPages*pageSize))}
}

// pages returns the number of pages, which is the number of the last page.
func (f *file) pages() uint32 { return uint32(len(f.bytes) / pageSize) }

// add appends a page and returns its number. After too many pages it returns 0.
func (f *file) add(page []byte) uint32 {
	if f.pages() == maxPages {
		f.full = true
		return 0
	}
	f.bytes = append(f.bytes, page...)
	return f.pages()
}

// spill writes the rest of a row to a chain of overflow pages, and returns the number of the first page.
func (f *file) spill(rest []byte) uint32 {
	first := f.pages() + 1
	for len(rest) > 0 {
		var p [pageSize]byte
		n := copy(p[4:], rest)
		rest = rest[n:]
		if len(rest) > 0 {
			binary.BigEndian.PutUint32(p[:], f.pages()+2)
		}
		f.add(p[:])
	}
	return first
}

// finish writes the first page and returns the database.
//
// Source: https://www.sqlite.org/fileformat2.html, section 1.3.
func (f *file) finish(schema []byte) ([]byte, error) {
	if f.full {
		return nil, fmt.Errorf("nix database: larger than %d bytes: %w", maxPages*pageSize, errors.ErrUnsupported)
	}
	b := f.bytes
	copy(b, schema)
	copy(b, "SQLite format 3\x00")
	binary.BigEndian.PutUint16(b[16:], pageSize)
	b[18], b[19] = 1, 1              // written and read with a rollback journal
	b[21], b[22], b[23] = 64, 32, 32 // payload fractions
	for offset, v := range map[int]uint32{
		24: 1, // file change counter
		28: f.pages(),
		40: 1,         // schema cookie
		44: 4,         // schema format
		56: 1,         // UTF-8
		92: 1,         // version-valid-for
		96: 3_007_000, // SQLite version
	} {
		binary.BigEndian.PutUint32(b[offset:], v)
	}
	return b, nil
}
