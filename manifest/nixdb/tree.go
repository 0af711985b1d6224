package nixdb

import (
	"encoding/binary"
	"slices"
)

// The kinds of b-tree pages. An interior page has one child more than cells: the right child.
const (
	indexInterior byte = 2
	tableInterior byte = 5
	indexLeaf     byte = 10
	tableLeaf     byte = 13

	rightChild = 8 // the offset of the right child in an interior page
)

// page is a b-tree page that is being filled. The pointers to the cells grow upwards from the header, the cells downwards from
// the end.
//
// Source: https://www.sqlite.org/fileformat2.html, section 1.6.
type page struct {
	buf    [pageSize]byte
	start  int // offset of the header: 100 in the first page, behind the header of the file
	header int // bytes
	cells  int
	low    int // offset of the last cell
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

// clear removes all cells.
func (p *page) clear() {
	clear(p.buf[p.start+1:])
	p.cells, p.low = 0, pageSize
}

// pointers returns the offset of the end of the pointers.
func (p *page) pointers() int { return p.start + p.header + 2*p.cells }

func (p *page) fits(cell []byte) bool { return p.pointers()+2+len(cell) <= p.low }

func (p *page) push(cell []byte) {
	p.low -= len(cell)
	copy(p.buf[p.low:], cell)
	binary.BigEndian.PutUint16(p.buf[p.pointers():], uint16(p.low))
	p.cells++
}

// pop removes the last cell and returns it.
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

// bytes completes the header and returns the page. There are no free blocks and no fragments.
func (p *page) bytes() []byte {
	binary.BigEndian.PutUint16(p.buf[p.start+3:], uint16(p.cells))
	binary.BigEndian.PutUint16(p.buf[p.start+5:], uint16(p.low))
	return p.buf[:]
}

// tree writes a b-tree from its leaves to its root. The entries come in the order of the tree. Pages are filled up; later writes
// of Nix split them as usual.
type tree struct {
	file   *file
	leaf   byte
	levels []*page // the open page of each level, the leaf first
	cell   []byte
	key    int64 // key of the last row
}

func newTree(f *file, leaf byte) *tree {
	return &tree{file: f, leaf: leaf, levels: []*page{newPage(leaf, 0)}}
}

// row adds a row of a table. Keys must ascend.
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

// localSize returns the bytes of a row that stay in the leaf.
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

// entry adds an entry of an index. Entries must ascend, and be short enough not to overflow.
func (t *tree) entry(payload []byte) {
	t.cell = appendVarint(t.cell[:0], uint64(len(payload)))
	t.cell = append(t.cell, payload...)
	t.put(0, t.cell)
}

// put adds a cell at a level. If the page there is full, put writes it and begins a new one with the cell. So only an empty root
// is ever empty.
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

// divide closes the page at a level and returns the cell for the level above that divides it from the next page. In a table that
// is a copy of the greatest key, because all rows are in the leaves. In an index the last entry moves up.
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

// finish writes the open pages and returns the number of the root page.
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
