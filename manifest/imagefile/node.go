package imagefile

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
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

// byteOrderMark is what some editors begin a file with.
const byteOrderMark = "\ufeff"

// kind is what a node is.
type kind uint8

const (
	broken kind = iota // the problem is noted
	null
	boolean
	integer
	float
	text
	list
	object
)

// node is a value of a file, however it is spelled there.
type node struct {
	kind    kind
	text    string // of a scalar; an integer's is decimal, a boolean's true or false
	items   []*node
	members []member // in the file's order, each key once
	at      Position
}

// member is a key of an object, and what stands under it.
type member struct {
	key   string
	at    Position
	value *node
}

// describe says what a node is, for a message.
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

// tree makes the nodes of a file, within bounds.
type tree struct {
	*problems
	nodes int
}

// documents returns the documents of a file: one in JSON, any number in YAML.
func (t *tree) documents(data []byte) []*node {
	data = bytes.TrimPrefix(data, []byte(byteOrderMark))
	switch {
	case len(data) > maxFile:
		t.invalid(Position{t.file, 1, 1}, tooLarge, "the file has more than %d MiB: divide it", maxFile>>20)
	case !utf8.Valid(data):
		valid := 0
		for size := 1; valid < len(data); valid += size {
			var r rune
			if r, size = utf8.DecodeRune(data[valid:]); r == utf8.RuneError && size == 1 {
				break
			}
		}
		t.invalid(t.position(data[:valid]), badSyntax, "not UTF-8: save the file in that encoding")
	case isJSON(t.file, data):
		return t.json(data)
	default:
		return t.yaml(data)
	}
	return nil
}

// isJSON reports whether data is to be read as JSON: by the file's name, or because it is JSON. All else is YAML.
func isJSON(file string, data []byte) bool {
	if strings.EqualFold(filepath.Ext(file), ".json") {
		return true
	}
	trimmed := bytes.TrimLeft(data, " \t\r\n")
	return len(trimmed) > 0 && (trimmed[0] == '{' || trimmed[0] == '[') && json.Valid(data)
}

// position is the place after a file's first bytes.
func (t *tree) position(before []byte) Position {
	line := before[bytes.LastIndexByte(before, '\n')+1:]
	return Position{t.file, bytes.Count(before, []byte("\n")) + 1, utf8.RuneCount(line) + 1}
}

// enter counts a node and reports whether it may be read.
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

// string reports whether s can be a string or a key, and notes it if not.
func (t *tree) string(at Position, s string) bool {
	if strings.IndexByte(s, 0) >= 0 {
		t.invalid(at, badValue, "the text %.50q has a NUL, which Nix allows in no string", s)
		return false
	}
	return true
}

// put adds a member to an object whose keys so far are seen.
func (t *tree) put(n *node, seen map[string]Position, m member) {
	if first, ok := seen[m.key]; ok {
		t.invalid(m.at, twice, "the key %.100q is there twice, first in line %d", m.key, first.Line)
		return
	}
	seen[m.key] = m.at
	n.members = append(n.members, m)
}
