package nar

import (
	"fmt"
	"strings"
	"testing"

	"github.com/nixreg/nixreg/store"
)

// checkIndex packs nodes and looks for each.
func checkIndex(t *testing.T, nodes []Node) *Index {
	t.Helper()
	var x Index
	for _, nd := range nodes {
		x.add(nd)
	}
	x.finish()
	if x.Len() != len(nodes) {
		t.Fatalf("%d nodes, want %d", x.Len(), len(nodes))
	}
	for i, nd := range nodes {
		if got := x.At(i); got != nd {
			t.Fatalf("node %d is %+v, want %+v", i, got, nd)
		}
		if at, ok := x.Find(nd.Name); !ok || at != i {
			t.Errorf("%q is found at %d, not at %d", nd.Name, at, i)
		}
	}
	if at, ok := x.Find("nowhere/at/all"); ok {
		t.Errorf("what is not there is found at %d", at)
	}
	return &x
}

// Text goes into blocks that end at other places than names do.
func TestNARIndex(t *testing.T) {
	nodes := []Node{{Node: store.Node{Kind: store.Directory}}}
	for i := range 5000 {
		nd := Node{Node: store.Node{Name: fmt.Sprintf("%05d%s", i, strings.Repeat("x", i%97)), Kind: store.Regular, Size: int64(i), Executable: i%2 == 0}, Offset: int64(i) << 32}
		if i%7 == 0 {
			nd.Node = store.Node{Name: nd.Name, Kind: store.Symlink, Target: strings.Repeat("t", i%maxTarget+1)}
		}
		nodes = append(nodes, nd)
	}
	x := checkIndex(t, nodes)
	if len(x.text) < 3 {
		t.Errorf("%d blocks are no test", len(x.text))
	}
	for i, block := range x.text {
		if len(block) > textBlock {
			t.Errorf("block %d has %d bytes", i, len(block))
		}
	}
}

// The longest text that an archive can have fits into the index's numbers.
func TestNARIndexLimits(t *testing.T) {
	if maxPath+maxTarget > textBlock {
		t.Error("a node may not fit into a block")
	}
	if worst := int64(maxText) / (textBlock - maxPath - maxTarget) * textBlock; worst > 1<<32 {
		t.Errorf("%d bytes of text cannot be addressed", worst)
	}
}
