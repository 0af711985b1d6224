// Package gunzip reads gzip files from any offset of their uncompressed bytes.
//
// It owns a decoder of deflate that knows the starts of blocks, and the [Index] of them. A read that starts at a block needs
// only the 32 KiB before it. The package must not know archives or stores, and keeps nothing on disk.
//
//	var x gunzip.Index
//	_, err := io.Copy(w, gunzip.NewReader(file, &x)) // once, the whole file
//	r, err := x.NewReader(file, 1<<30)               // then from any offset
package gunzip

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"sort"
)

// Reader reads the uncompressed bytes of a gzip file with all its members. Not safe for concurrent use. There is nothing to
// close.
//
// Source: RFC 1952.
type Reader struct {
	f     *inflater
	index *Index // the index that is built; may be nil
	off   int64  // the offset of the next byte that f decodes
	err   error

	members int
	opened  bool // the header of a member was read, and not its end
	partial bool // reading began in the middle of the member, so its checksum cannot be verified
	crc     uint32
	size    uint32
}

// NewReader reads a file from its start. It verifies the checksum of each member. If x is not nil, the Reader builds it; x is
// complete when the Reader has reached the end. For input that is damaged or not gzip, the error matches [fs.ErrInvalid]; if
// the input ends too early, it matches [io.ErrUnexpectedEOF] too. Errors of r are returned unchanged.
func NewReader(r io.Reader, x *Index) *Reader {
	if x != nil {
		*x = Index{}
	}
	return &Reader{f: newInflater(r), index: x}
}

// Read implements [io.Reader].
func (z *Reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if z.f.read == z.f.write {
		if err := z.more(); err != nil {
			return 0, err
		}
	}
	n := copy(p, z.f.out[z.f.read:z.f.write])
	z.f.read += n
	return n, nil
}

// WriteTo implements [io.WriterTo].
func (z *Reader) WriteTo(w io.Writer) (total int64, err error) {
	for {
		n, err := w.Write(z.f.out[z.f.read:z.f.write])
		z.f.read += n
		total += int64(n)
		if err != nil {
			return total, err
		}
		if err := z.more(); err == io.EOF {
			return total, nil
		} else if err != nil {
			return total, err
		}
	}
}

// more decodes until there are bytes to read. At the end of the file it returns [io.EOF].
func (z *Reader) more() error {
	for z.err == nil && z.f.read == z.f.write {
		switch {
		case !z.opened:
			z.err = z.open()
		case z.f.state == streamEnded:
			z.err = z.close()
		default:
			z.err = z.decode()
		}
	}
	return z.err
}

// decode decodes one step of a member, and counts and hashes the bytes.
func (z *Reader) decode() error {
	f := z.f
	f.slide()
	if f.state == betweenBlocks && !f.final && z.index != nil {
		z.index.mark(f, z.off)
	}
	before := f.write
	err := f.step()
	decoded := f.out[before:f.write]
	z.off += int64(len(decoded))
	if !z.partial {
		z.crc = crc32.Update(z.crc, crc32.IEEETable, decoded)
		z.size += uint32(len(decoded))
	}
	return err
}

// open reads the header of a member. It returns [io.EOF] if the file ends there and has a member before.
func (z *Reader) open() error {
	f := z.f
	f.fill(8)
	if f.nacc == 0 && z.members > 0 && errors.Is(f.err, io.EOF) {
		if z.index != nil {
			z.index.size, z.index.whole = z.off, true
		}
		return io.EOF
	}
	if err := z.header(); err != nil {
		return err
	}
	f.restart()
	z.members++
	z.opened, z.partial, z.crc, z.size = true, false, 0, 0
	return nil
}

func (z *Reader) header() error {
	const (
		hasCRC = 1 << (iota + 1)
		hasExtra
		hasName
		hasComment
	)
	var head [10]byte
	if err := z.bytes(head[:]); err != nil {
		return err
	}
	if head[0] != 0x1f || head[1] != 0x8b || head[2] != 8 {
		return errNotGzip
	}
	flags := head[3]
	if flags&hasExtra != 0 {
		var n [2]byte
		if err := z.bytes(n[:]); err != nil {
			return err
		}
		if err := z.bytes(make([]byte, binary.LittleEndian.Uint16(n[:]))); err != nil {
			return err
		}
	}
	for _, flag := range []byte{hasName, hasComment} {
		for c := [1]byte{1}; flags&flag != 0 && c[0] != 0; {
			if err := z.bytes(c[:]); err != nil {
				return err
			}
		}
	}
	if flags&hasCRC != 0 {
		return z.bytes(make([]byte, 2))
	}
	return nil
}

// close reads the end of a member, and compares checksum and size.
func (z *Reader) close() error {
	z.f.align()
	var tail [8]byte
	if err := z.bytes(tail[:]); err != nil {
		return err
	}
	if !z.partial && (binary.LittleEndian.Uint32(tail[:]) != z.crc || binary.LittleEndian.Uint32(tail[4:]) != z.size) {
		return errChecksum
	}
	z.opened = false
	return nil
}

// bytes reads the bytes outside deflate streams.
func (z *Reader) bytes(to []byte) error {
	for i := range to {
		v, err := z.f.bits(8)
		if err != nil {
			return err
		}
		to[i] = byte(v)
	}
	return nil
}

// NewReader reads the uncompressed bytes of file from off on. The Index must be complete and of the same file. For an offset
// beyond the end the error matches [fs.ErrInvalid]. The checksum is not verified for a member that is read from its middle.
func (x *Index) NewReader(file io.ReadSeeker, off int64) (*Reader, error) {
	if !x.whole || off < 0 || off > x.size {
		return nil, fmt.Errorf("gzip: byte %d of %d: %w", off, x.size, fs.ErrInvalid)
	}
	var p point
	if i := sort.Search(len(x.points), func(i int) bool { return x.points[i].off > off }); i > 0 {
		p = x.points[i-1]
	}
	if _, err := file.Seek(p.bit/8, io.SeekStart); err != nil {
		return nil, err
	}
	z := NewReader(file, nil)
	if p.off > 0 {
		if err := z.enter(p); err != nil {
			return nil, err
		}
	}
	return z, z.skip(off - p.off)
}

// enter begins at a point. The file must be at the byte of the point.
func (z *Reader) enter(p point) error {
	f := z.f
	if _, err := f.bits(uint(p.bit % 8)); err != nil {
		return err
	}
	f.write = copy(f.out, p.window)
	f.read = f.write
	z.off, z.members, z.opened, z.partial = p.off, 1, true, true
	return nil
}

// skip skips n bytes.
func (z *Reader) skip(n int64) error {
	for n > 0 {
		if z.f.read == z.f.write {
			if err := z.more(); err != nil {
				return unexpected(err)
			}
		}
		cut := min(n, int64(z.f.write-z.f.read))
		z.f.read += int(cut)
		n -= cut
	}
	return nil
}
