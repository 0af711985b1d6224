// Package gunzip reads gzip files from any offset of what they hold.
//
// It owns a decoder of deflate that knows where blocks start, and the [Index] of such places: reading from one of them
// needs the 32 KiB before it and nothing else. It knows neither archives nor stores, and keeps nothing on disk.
//
//	var x gunzip.Index
//	_, err := io.Copy(w, gunzip.NewReader(file, &x)) // once, to the end
//	r, err := x.NewReader(file, 1<<30)               // from there on, at once
package gunzip

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
)

var (
	errNotGzip  = fmt.Errorf("not gzip: %w", fs.ErrInvalid)
	errChecksum = fmt.Errorf("gzip: wrong checksum: %w", fs.ErrInvalid)
	errCorrupt  = fmt.Errorf("gzip: corrupt data: %w", fs.ErrInvalid)
)

// Reader reads what a gzip file holds: all members, one after the other. Not safe for concurrent use; there is nothing
// to close.
//
// Source: RFC 1952.
type Reader struct {
	f     *inflater
	index *Index // that is built; may be nil
	off   int64  // of the next byte that f decodes
	err   error

	members int
	opened  bool // a member's header was read, its end not yet
	partial bool // the member was entered in its middle: its checksum says nothing
	crc     uint32
	size    uint32
}

// NewReader reads from the start of a file. Every member's checksum is verified. If x is not nil, it is built: complete
// when the Reader has come to the end. Input that is not gzip, or that is damaged, gives an error matching
// [fs.ErrInvalid], and input that ends too early one that matches [io.ErrUnexpectedEOF] as well; errors of r are passed
// on as they are.
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

// more decodes until there is something to read; at the end of the file it returns [io.EOF].
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

// open reads a member's header. Where the file ends instead, and it was not the first one, all is well.
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

// close compares a member's checksum and size.
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

// bytes reads whole bytes between deflate streams.
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

// unexpected is the error for an end where there is none.
func unexpected(err error) error {
	if err == io.EOF {
		return fmt.Errorf("gzip: %w: %w", io.ErrUnexpectedEOF, fs.ErrInvalid)
	}
	return err
}
