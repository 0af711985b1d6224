package binarycache

import (
	"slices"
	"sort"

	"github.com/nixreg/nixreg/store"
)

// textBlock bounds what one name that somebody keeps holds in memory, in bytes. It is more than a node's text can have.
const textBlock = 1 << 16

// narIndex is the nodes of one archive, in its order. They are packed, as an archive may have a million of them.
type narIndex struct {
	nodes []packedNode
	text  []string // names and targets, in blocks
	block []byte   // the one being filled
}

// packedNode is a narNode without pointers.
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

func (x *narIndex) add(nd narNode) {
	if len(x.block)+len(nd.Name)+len(nd.Target) > textBlock {
		x.endBlock()
	}
	x.nodes = append(x.nodes, packedNode{
		offset:     nd.offset,
		size:       nd.Size,
		text:       uint32(len(x.text)*textBlock + len(x.block)),
		name:       uint16(len(nd.Name)),
		target:     uint16(len(nd.Target)),
		kind:       nd.Kind,
		executable: nd.Executable,
	})
	x.block = append(append(x.block, nd.Name...), nd.Target...)
}

func (x *narIndex) endBlock() {
	x.text = append(x.text, string(x.block))
	x.block = x.block[:0]
}

// finish is called after the last add, before anything is looked up.
func (x *narIndex) finish() {
	x.endBlock()
	x.block = nil
	if cap(x.nodes) > len(x.nodes)+len(x.nodes)/8 {
		x.nodes = slices.Clone(x.nodes)
	}
}

func (x *narIndex) len() int { return len(x.nodes) }

// at returns node i. Its strings share the index's memory.
func (x *narIndex) at(i int) narNode {
	nd := &x.nodes[i]
	name, target := x.texts(i)
	return narNode{store.Node{Name: name, Kind: nd.kind, Executable: nd.executable, Size: nd.size, Target: target}, nd.offset}
}

func (x *narIndex) texts(i int) (name, target string) {
	nd := &x.nodes[i]
	text := x.text[nd.text/textBlock][nd.text%textBlock:]
	return text[:nd.name], text[nd.name:][:nd.target]
}

// find returns the place of the node called name.
func (x *narIndex) find(name string) (int, bool) {
	return sort.Find(len(x.nodes), func(i int) int {
		other, _ := x.texts(i)
		return compareNames(name, other)
	})
}

// memory is about what the index takes, in bytes.
func (x *narIndex) memory() int64 {
	n := int64(cap(x.nodes)) * packedSize
	for _, block := range x.text {
		n += int64(len(block))
	}
	return n
}

// compareNames orders names component by component, so that what is below a directory follows it at once.
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
