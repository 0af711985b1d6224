package gunzip

import (
	"fmt"
	"io"
	"io/fs"
	"slices"
	"sort"
)

const (
	// maxPoints bounds an Index: with their windows, its points take 8 MiB.
	maxPoints = 256
	// firstStep is how many bytes of output lie between two points, until there are too many of them.
	firstStep = 2 << 20
)

// Index knows places in a gzip file from which it can be read. Its zero value knows none. Once it is built, it is safe
// for concurrent use.
type Index struct {
	points []point
	step   int64
	size   int64
	whole  bool
}

// point is the start of a block.
type point struct {
	off    int64  // in the output
	bit    int64  // in the file
	window []byte // the output before it, as far as the block may refer to it
}

// Size is how many bytes the file holds, decompressed.
func (x *Index) Size() int64 { return x.size }

// Weight is about how many bytes of memory the Index takes.
func (x *Index) Weight() int64 {
	weight := int64(64)
	for _, p := range x.points {
		weight += int64(len(p.window)) + 48
	}
	return weight
}

// mark notes that a block starts where f is, if the last one noted lies far enough behind.
func (x *Index) mark(f *inflater, off int64) {
	if x.step == 0 {
		x.step = firstStep
	}
	last := int64(0)
	if n := len(x.points); n > 0 {
		last = x.points[n-1].off
	}
	if off-last < x.step {
		return
	}
	if len(x.points) == maxPoints {
		x.thin()
		x.mark(f, off)
		return
	}
	window := slices.Clone(f.out[max(0, f.write-windowSize):f.write])
	x.points = append(x.points, point{off, f.bit(), window})
}

// Thinner is an Index of the same file with every other place: in half the memory, but more has to be read before an
// offset is reached.
func (x *Index) Thinner() *Index {
	y := *x
	y.points = slices.Clone(x.points)
	y.thin()
	return &y
}

// thin drops every other point.
func (x *Index) thin() {
	kept := x.points[:0]
	for i, p := range x.points {
		if i%2 == 1 {
			kept = append(kept, p)
		}
	}
	clear(x.points[len(kept):])
	x.points = kept
	x.step *= 2
}

// NewReader reads what the file holds from byte off on. The file must be the one that the Index was built of, and the
// Index complete; an offset beyond the end gives an error matching [fs.ErrInvalid]. Of the member in whose middle
// reading starts, the checksum is not verified.
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

// enter begins at a point, to whose first byte the file was sought.
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

// skip passes over n bytes.
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
