package imagefile

import (
	"bytes"
	"fmt"
	"math/big"
	"strings"
	"unicode/utf8"
)

// Bounds of a file.
const (
	maxFile   = 16 << 20 // bytes
	maxNodes  = 500_000
	maxDepth  = 100
	maxDigits = 100
)

// byteOrderMark stands at the start of the files of some editors.
const byteOrderMark = "\ufeff"

// kind is the type of a node.
type kind uint8

const (
	broken kind = iota // has a problem, which was added
	null
	boolean
	integer
	float
	text
	list
	object
)

// node is a value of a file, in YAML or JSON.
type node struct {
	kind    kind
	text    string // of a scalar: an integer in decimal, a boolean as true or false
	items   []*node
	members []member // in the order of the file, each key once
	at      Position
}

// member is a key of an object and its value.
type member struct {
	key   string
	at    Position
	value *node
}

// describe returns the words for a node in a message.
func (n *node) describe() string {
	switch n.kind {
	case integer, float:
		return fmt.Sprintf("the number %.50s", n.text)
	case text:
		return fmt.Sprintf("the text %.50q", n.text)
	case list:
		return "a list"
	case object:
		return "an object"
	}
	return n.text
}

// tree makes the nodes of a file, and bounds them.
type tree struct {
	*problems
	nodes int
}

// position returns the position behind the first bytes of a file.
func (t *tree) position(before []byte) Position {
	line := before[bytes.LastIndexByte(before, '\n')+1:]
	return Position{t.file, bytes.Count(before, []byte("\n")) + 1, utf8.RuneCount(line) + 1}
}

// enter counts a node. It reports whether the bounds allow it.
func (t *tree) enter(at Position, depth int) bool {
	t.nodes++
	switch {
	case t.nodes == maxNodes+1:
		t.invalid(at, tooLarge, "more than %d values: divide the file", maxNodes)
	case t.nodes <= maxNodes && depth > maxDepth:
		t.invalid(at, tooLarge, "nested more than %d deep", maxDepth)
	}
	return t.nodes <= maxNodes && depth <= maxDepth
}

// string reports whether s can be a string of Nix. If it cannot, string adds a problem.
func (t *tree) string(at Position, s string) bool {
	if strings.IndexByte(s, 0) >= 0 {
		t.invalid(at, badValue, "the text %.50q has a NUL, which Nix allows in no string", s)
		return false
	}
	return true
}

// put adds a member to an object. seen holds its keys so far.
func (t *tree) put(n *node, seen map[string]Position, m member) {
	if first, ok := seen[m.key]; ok {
		t.invalid(m.at, twice, "the key %.100q is there twice, first in line %d", m.key, first.Line)
		return
	}
	seen[m.key] = m.at
	n.members = append(n.members, m)
}

// decimal makes n an integer.
func (t *tree) decimal(n *node, digits string, base int) {
	var i big.Int
	if _, ok := i.SetString(digits[:min(len(digits), maxDigits)], base); !ok || len(digits) > maxDigits {
		t.invalid(n.at, badValue, "the number %.50s… has more than %d digits", digits, maxDigits)
		n.kind = broken
		return
	}
	n.kind, n.text = integer, i.String()
}
