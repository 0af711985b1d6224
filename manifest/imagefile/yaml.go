package imagefile

import (
	"bytes"
	"io"
	"regexp"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"
)

// yaml reads the documents of a YAML file. After an error it returns the documents before it.
func (t *tree) yaml(data []byte) []*node {
	if lines := yamlMarks(data); lines > maxNodes {
		t.invalid(Position{t.file, 1, 1}, tooLarge, "more than %d lines and values: divide the file", maxNodes)
		return nil
	}
	var docs []*node
	for dec := yaml.NewDecoder(bytes.NewReader(data)); ; {
		var doc yaml.Node
		if err := dec.Decode(&doc); err == io.EOF {
			return docs
		} else if err != nil {
			t.yamlError(data, err)
			return docs
		}
		docs = append(docs, t.yamlNode(doc.Content[0], 0))
	}
}

// yamlMarks counts the marks that end or begin a value, which are at least a third of the values. It bounds the document that
// the library builds in memory.
func yamlMarks(data []byte) int {
	n := 0
	for i, c := range data {
		switch c {
		case '\n', '\r', ',', '[', '{':
			n++
		case '-', '?', ':':
			if i+1 < len(data) && (data[i+1] == ' ' || data[i+1] == '\t') {
				n++
			}
		}
	}
	return n
}

// yamlError adds a problem of syntax. The library names only a line, often the line at which the value around the mistake begins.
// The position to which it read is nearer to the mistake.
func (t *tree) yamlError(data []byte, err error) {
	r := &byteReader{data: data}
	for dec := yaml.NewDecoder(r); dec.Decode(new(yaml.Node)) == nil; {
	}
	read := bytes.TrimRightFunc(data[:r.n], unicode.IsSpace)
	at := t.position(read)
	at.Column = max(at.Column-1, 1)
	message := yamlLine.ReplaceAllString(err.Error(), "")
	t.invalid(at, badSyntax, "YAML syntax error: %s", message)
}

var yamlLine = regexp.MustCompile(`^yaml: (line [0-9]+: )?`)

// byteReader reads one byte at a time, so that n is the position of its reader.
type byteReader struct {
	data []byte
	n    int
}

func (r *byteReader) Read(p []byte) (int, error) {
	if r.n == len(r.data) {
		return 0, io.EOF
	}
	n := copy(p[:1], r.data[r.n:])
	r.n += n
	return n, nil
}

// yamlNode converts a value. An alias becomes a copy of its anchor's value.
func (t *tree) yamlNode(y *yaml.Node, depth int) *node {
	n := &node{at: Position{t.file, y.Line, y.Column}}
	if !t.enter(n.at, depth) {
		return n
	}
	switch y.Kind {
	case yaml.AliasNode:
		return t.yamlNode(y.Alias, depth+1)
	case yaml.SequenceNode:
		if t.yamlTag(y, "!!seq") {
			n.kind = list
			for _, item := range y.Content {
				n.items = append(n.items, t.yamlNode(item, depth+1))
			}
		}
	case yaml.MappingNode:
		if t.yamlTag(y, "!!map") {
			t.yamlObject(n, y, depth)
		}
	default:
		t.yamlScalar(n, y)
	}
	return n
}

// yamlTag reports whether a node has the wanted tag or none.
func (t *tree) yamlTag(y *yaml.Node, want string) bool {
	if y.Style&yaml.TaggedStyle == 0 || y.Tag == want {
		return true
	}
	t.invalid(Position{t.file, y.Line, y.Column}, badType, "the tag %.50q does not fit: leave it out", y.Tag)
	return false
}

func (t *tree) yamlObject(n *node, y *yaml.Node, depth int) {
	n.kind = object
	seen := make(map[string]Position)
	for i := 0; i+1 < len(y.Content); i += 2 {
		key := y.Content[i]
		k := &node{at: Position{t.file, key.Line, key.Column}}
		value := t.yamlNode(y.Content[i+1], depth+1)
		switch {
		case key.Kind != yaml.ScalarNode:
			t.invalid(k.at, badType, "a key that is no plain text: write it out")
			continue
		case key.Tag == "!!merge":
			t.invalid(k.at, badSyntax, "a merge (<<) is not in YAML 1.2: repeat the keys, or give each value an anchor")
			continue
		}
		if t.yamlScalar(k, key); k.kind != text {
			if k.kind != broken {
				t.invalid(k.at, badType, "the key is %s: write it in quotes", k.describe())
			}
			continue
		}
		t.put(n, seen, member{k.text, k.at, value})
	}
}

// yamlScalar reads a scalar by the core schema, in which yes, dates and 1_000 are text.
//
// Source: YAML 1.2.2, section 10.3.2.
func (t *tree) yamlScalar(n *node, y *yaml.Node) {
	n.kind, n.text = text, y.Value
	if !t.string(n.at, y.Value) {
		n.kind = broken
		return
	}
	tagged := y.Style&yaml.TaggedStyle != 0
	quoted := y.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) != 0
	if tagged && y.Tag == "!!str" || !tagged && quoted {
		return
	}
	t.resolve(n)
	if tagged && n.kind != broken && y.Tag != yamlTags[n.kind] {
		t.yamlTag(y, "")
		n.kind = broken
	}
}

var yamlTags = map[kind]string{null: "!!null", boolean: "!!bool", integer: "!!int", float: "!!float"}

var (
	yamlFloat = regexp.MustCompile(`^([-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$`)
	yamlOctal = regexp.MustCompile(`^[-+]?0[0-9]+$`)
)

// resolve sets the kind of a plain scalar.
func (t *tree) resolve(n *node) {
	s := n.text
	digits := strings.TrimPrefix(s, "+")
	switch {
	case s == "" || s == "~" || s == "null" || s == "Null" || s == "NULL":
		n.kind, n.text = null, "null"
	case s == "true" || s == "True" || s == "TRUE" || s == "false" || s == "False" || s == "FALSE":
		n.kind, n.text = boolean, strings.ToLower(s)
	case strings.IndexByte("+-.0123456789", s[0]) < 0:
	case yamlOctal.MatchString(s):
		t.invalid(n.at, badValue, "%.50s is octal to some and decimal to others: leave the first 0 out, or write it in quotes", s)
		n.kind = broken
	case isDigits(strings.TrimPrefix(digits, "-"), "0123456789") && !strings.HasPrefix(s, "+-"):
		t.decimal(n, digits, 10)
	case strings.HasPrefix(s, "0x") && isDigits(s[2:], "0123456789abcdefABCDEF"):
		t.decimal(n, s[2:], 16)
	case strings.HasPrefix(s, "0o") && isDigits(s[2:], "01234567"):
		t.decimal(n, s[2:], 8)
	case yamlFloat.MatchString(s):
		n.kind = float
	}
}
