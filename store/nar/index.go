package nar

import (
	"io"
	"slices"
	"sort"

	"github.com/nixreg/nixreg/store"
)

// textBlock is the size of the blocks that hold names and targets, in bytes. A string of an index keeps its whole block in memory.
// It is more than the text of one node can have.
const textBlock = 1 << 16

// Index is the nodes of one archive, in archive order. Each takes 32 bytes and its text, because an archive may have a million.
// Safe for concurrent use.
type Index struct {
	nodes []packedNode
	text  []string // names and targets, in blocks
	block []byte   // the block being filled
}

// packedNode is a [Node] without pointers.
type packedNode struct {
	offset     int64 // of a regular file's contents
	size       int64
	text       uint32 // block and place in it: of the name, which the target follows
	name       uint16 // length
	target     uint16 // length
	kind       store.Kind
	executable bool
}

const packedSize = 32 // bytes of a packedNode

// ReadIndex reads a whole archive. If r is an [io.Seeker], contents are skipped. Errors are those of r, and for a malformed
// archive, of which r may not be read to its end, one matching [ErrCorrupt].
func ReadIndex(r io.Reader) (*Index, error) {
	x := new(Index)
	err := parse(r, func(nd Node) error { x.add(nd); return nil })
	x.finish()
	return x, err
}

func (x *Index) add(nd Node) {
	if len(x.block)+len(nd.Name)+len(nd.Target) > textBlock {
		x.endBlock()
	}
	x.nodes = append(x.nodes, packedNode{
		offset:     nd.Offset,
		size:       nd.Size,
		text:       uint32(len(x.text)*textBlock + len(x.block)),
		name:       uint16(len(nd.Name)),
		target:     uint16(len(nd.Target)),
		kind:       nd.Kind,
		executable: nd.Executable,
	})
	x.block = append(append(x.block, nd.Name...), nd.Target...)
}

func (x *Index) endBlock() {
	x.text = append(x.text, string(x.block))
	x.block = x.block[:0]
}

// finish ends the last block. It comes after the last add and before the first look-up.
func (x *Index) finish() {
	x.endBlock()
	x.block = nil
	if cap(x.nodes) > len(x.nodes)+len(x.nodes)/8 {
		x.nodes = slices.Clone(x.nodes)
	}
}

// Len is the number of nodes.
func (x *Index) Len() int { return len(x.nodes) }

// At returns node i. Its strings share the memory of the index.
func (x *Index) At(i int) Node {
	nd := &x.nodes[i]
	name, target := x.texts(i)
	return Node{store.Node{Name: name, Kind: nd.kind, Executable: nd.executable, Size: nd.size, Target: target}, nd.offset}
}

func (x *Index) texts(i int) (name, target string) {
	nd := &x.nodes[i]
	text := x.text[nd.text/textBlock][nd.text%textBlock:]
	return text[:nd.name], text[nd.name:][:nd.target]
}

// Find returns the place of the node called name. The nodes below a directory follow it without a gap.
func (x *Index) Find(name string) (int, bool) {
	return sort.Find(len(x.nodes), func(i int) int {
		other, _ := x.texts(i)
		return compareNames(name, other)
	})
}

// Memory is about the size of the index, in bytes.
func (x *Index) Memory() int64 {
	n := int64(cap(x.nodes)) * packedSize
	for _, block := range x.text {
		n += int64(len(block))
	}
	return n
}

// compareNames orders names by components, so that the nodes below a directory follow it.
func compareNames(a, b string) int {
	for i := range min(len(a), len(b)) {
		switch {
		case a[i] == b[i]:
		case a[i] == '/':
			return -1
		case b[i] == '/' || a[i] > b[i]:
			return 1
		default:
			return -1
		}
	}
	return len(a) - len(b)
}
