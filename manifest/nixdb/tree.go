package nixdb

import (
	"encoding/binary"
	"slices"
)

// The kinds of b-tree pages. An interior page has room for one more child than it has cells: the one on the right.
const (
	indexInterior byte = 2
	tableInterior byte = 5
	indexLeaf     byte = 10
	tableLeaf     byte = 13

	rightChild = 8 // its offset in an interior page
)

// page is a b-tree page that is being filled: pointers to its cells grow upwards from the header, cells downwards from
// the end.
//
// Source: https://www.sqlite.org/fileformat2.html, section 1.6.
type page struct {
	buf    [pageSize]byte
	start  int // of the header: 100 in the first page, which begins with that of the file
	header int // bytes
	cells  int
	low    int // offset of the cell that was added last
}

func newPage(kind byte, start int) *page {
	p := &page{start: start, header: 12}
	if kind == indexLeaf || kind == tableLeaf {
		p.header = 8
	}
	p.buf[start] = kind
	p.clear()
	return p
}

// clear takes all cells out.
func (p *page) clear() {
	clear(p.buf[p.start+1:])
	p.cells, p.low = 0, pageSize
}

func (p *page) pointers() int { return p.start + p.header + 2*p.cells } // where they end

func (p *page) fits(cell []byte) bool { return p.pointers()+2+len(cell) <= p.low }

func (p *page) push(cell []byte) {
	p.low -= len(cell)
	copy(p.buf[p.low:], cell)
	binary.BigEndian.PutUint16(p.buf[p.pointers():], uint16(p.low))
	p.cells++
}

// pop takes the last cell out and returns it.
func (p *page) pop() []byte {
	end := pageSize
	p.cells--
	if p.cells > 0 {
		end = int(binary.BigEndian.Uint16(p.buf[p.pointers()-2:]))
	}
	cell := slices.Clone(p.buf[p.low:end])
	clear(p.buf[p.low:end])
	clear(p.buf[p.pointers() : p.pointers()+2])
	p.low = end
	return cell
}

// bytes is the page with its header complete: no free blocks, no fragments.
func (p *page) bytes() []byte {
	binary.BigEndian.PutUint16(p.buf[p.start+3:], uint16(p.cells))
	binary.BigEndian.PutUint16(p.buf[p.start+5:], uint16(p.low))
	return p.buf[:]
}

// tree writes one b-tree, whose entries come in the tree's order, from its leaves to its root. Pages are filled up: what
// Nix adds later splits them as usual.
type tree struct {
	file   *file
	leaf   byte
	levels []*page // the page that is being filled at each level, the leaf first
	cell   []byte
	key    int64 // of the row that was added last
}

func newTree(f *file, leaf byte) *tree {
	return &tree{file: f, leaf: leaf, levels: []*page{newPage(leaf, 0)}}
}

// row adds a row of a table, whose key is above all those before.
func (t *tree) row(key int64, payload []byte) {
	t.cell = appendVarint(t.cell[:0], uint64(len(payload)))
	t.cell = appendVarint(t.cell, uint64(key))
	local := localSize(len(payload))
	t.cell = append(t.cell, payload[:local]...)
	if local < len(payload) {
		t.cell = binary.BigEndian.AppendUint32(t.cell, t.file.spill(payload[local:]))
	}
	t.put(0, t.cell)
	t.key = key
}

// localSize is how much of the payload of a row stays in the leaf.
//
// Source: https://www.sqlite.org/fileformat2.html, section 1.6, table b-tree leaf cells (X, M and K).
func localSize(payload int) int {
	const most, least = pageSize - 35, (pageSize-12)*32/255 - 23
	if payload <= most {
		return payload
	}
	if k := least + (payload-least)%(pageSize-4); k <= most {
		return k
	}
	return least
}

// entry adds an entry of an index, short enough never to overflow, which sorts above all those before.
func (t *tree) entry(payload []byte) {
	t.cell = appendVarint(t.cell[:0], uint64(len(payload)))
	t.cell = append(t.cell, payload...)
	t.put(0, t.cell)
}

// put adds a cell at a level. If the page there is full it is written and a new one begun with the cell: so no page but
// an empty root is ever empty.
func (t *tree) put(level int, cell []byte) {
	if level == len(t.levels) {
		t.levels = append(t.levels, newPage(t.interior(), 0))
	}
	p := t.levels[level]
	if !p.fits(cell) {
		divider := t.divide(level)
		n := t.file.add(p.bytes())
		p.clear()
		t.put(level+1, append(binary.BigEndian.AppendUint32(nil, n), divider...))
	}
	p.push(cell)
}

// divide closes the page at a level and returns what parts it from the next one, for the level above. A table's rows are
// all in the leaves, and the greatest key below is repeated above; the divider of an index is an entry that is taken out.
func (t *tree) divide(level int) []byte {
	p := t.levels[level]
	switch {
	case level > 0:
		cell := p.pop()
		copy(p.buf[rightChild:], cell[:4])
		return cell[4:]
	case t.leaf == tableLeaf:
		return appendVarint(nil, uint64(t.key))
	default:
		return p.pop()
	}
}

func (t *tree) interior() byte {
	if t.leaf == tableLeaf {
		return tableInterior
	}
	return indexInterior
}

// finish writes what is left and returns the number of the root page.
func (t *tree) finish() uint32 {
	var n uint32
	for level, p := range t.levels {
		if level > 0 {
			binary.BigEndian.PutUint32(p.buf[rightChild:], n)
		}
		n = t.file.add(p.bytes())
	}
	return n
}
