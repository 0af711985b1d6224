package gunzip

import (
	"slices"
)

const (
	// maxPoints bounds an Index. Its points take 8 MiB with their windows.
	maxPoints = 256
	// firstStep is the smallest number of output bytes between two points. It doubles when there are too many points.
	firstStep = 2 << 20
)

// Index is a list of places in a gzip file at which reading can start. The zero value is empty. A complete Index is safe for
// concurrent use.
type Index struct {
	points []point
	step   int64
	size   int64
	whole  bool
}

// point is the start of a block.
type point struct {
	off    int64  // offset in the output
	bit    int64  // offset in the file, in bits
	window []byte // the output before it that the block may refer to
}

// Size returns the number of uncompressed bytes.
func (x *Index) Size() int64 { return x.size }

// Weight returns about the bytes of memory that the Index takes.
func (x *Index) Weight() int64 {
	weight := int64(64)
	for _, p := range x.points {
		weight += int64(len(p.window)) + 48
	}
	return weight
}

// mark adds the place of f, where a block starts, unless the last point is near.
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

// Thinner returns an Index of the same file with half of the points. It takes half the memory; reaching an offset takes longer.
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
