package imagefile

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// jsonReader reads valid JSON into nodes. It finds duplicate keys and positions, which [json.Unmarshal] does not report.
type jsonReader struct {
	*tree
	dec    *json.Decoder
	data   []byte
	offset int // of the next token; at is its position
	at     Position
}

// json reads a file that is one JSON document.
func (t *tree) json(data []byte) []*node {
	if err := json.Unmarshal(data, new(json.RawMessage)); err != nil {
		offset := len(data)
		if syntax := (*json.SyntaxError)(nil); errors.As(err, &syntax) && syntax.Offset > 0 {
			offset = int(syntax.Offset)
			if !strings.HasPrefix(err.Error(), "unexpected end") {
				offset-- // Offset is behind the wrong character
			}
		}
		t.invalid(t.position(data[:offset]), badSyntax, "not JSON: %v", err)
		return nil
	}
	r := &jsonReader{tree: t, dec: json.NewDecoder(bytes.NewReader(data)), data: data, at: Position{t.file, 1, 1}}
	r.dec.UseNumber()
	return []*node{r.node(0)}
}

// peek skips the bytes between tokens, and returns the position of the next token.
func (r *jsonReader) peek() Position {
	n := r.offset
	for n < len(r.data) && strings.IndexByte(" \t\r\n,:", r.data[n]) >= 0 {
		n++
	}
	r.advance(n)
	return r.at
}

func (r *jsonReader) advance(to int) {
	for _, c := range string(r.data[r.offset:to]) {
		r.at.Column++
		if c == '\n' {
			r.at.Line, r.at.Column = r.at.Line+1, 1
		}
	}
	r.offset = to
}

// token returns the next token, and its bytes in the file. It is nil after the end, which is not reached in valid JSON.
func (r *jsonReader) token() (json.Token, string) {
	r.peek()
	start := r.offset
	token, err := r.dec.Token()
	if err != nil {
		r.invalid(r.at, badSyntax, "not JSON: %v", err)
		return nil, ""
	}
	r.advance(int(r.dec.InputOffset()))
	return token, string(r.data[start:r.offset])
}

func (r *jsonReader) node(depth int) *node {
	n := &node{at: r.peek()}
	token, spelled := r.token()
	if !r.enter(n.at, depth) {
		r.skip(token)
		return n
	}
	switch v := token.(type) {
	case json.Delim:
		if v == '{' {
			r.object(n, depth)
		} else {
			r.list(n, depth)
		}
	case string:
		n.text = v
		if r.jsonString(n.at, v, spelled) {
			n.kind = text
		}
	case json.Number:
		n.kind, n.text = float, v.String()
		if strings.Trim(n.text, "-0123456789") == "" {
			r.decimal(n, n.text, 10)
		}
	case bool:
		n.kind, n.text = boolean, strconv.FormatBool(v)
	default:
		n.kind, n.text = null, "null"
	}
	return n
}

// more reports whether the object or list has more values and the file has not too many.
func (r *jsonReader) more() bool { return r.nodes <= maxNodes && r.dec.More() }

func (r *jsonReader) object(n *node, depth int) {
	n.kind = object
	seen := make(map[string]Position)
	for r.more() {
		at := r.peek()
		token, spelled := r.token()
		key, _ := token.(string)
		ok := r.jsonString(at, key, spelled)
		value := r.node(depth + 1)
		if ok {
			r.put(n, seen, member{key, at, value})
		}
	}
	r.token()
}

func (r *jsonReader) list(n *node, depth int) {
	n.kind = list
	for r.more() {
		n.items = append(n.items, r.node(depth+1))
	}
	r.token()
}

// skip skips the rest of a value after its first token, without recursion.
func (r *jsonReader) skip(token json.Token) {
	for open := 0; ; token, _ = r.token() {
		switch token {
		case json.Delim('{'), json.Delim('['):
			open++
		case json.Delim('}'), json.Delim(']'):
			open--
		}
		if open <= 0 || r.nodes > maxNodes {
			return
		}
	}
}

// jsonString is [tree.string] for text that may have escapes.
func (r *jsonReader) jsonString(at Position, s, spelled string) bool {
	if strings.ContainsRune(s, utf8.RuneError) && loneSurrogate(spelled) {
		r.invalid(at, badValue, "the text %.50q has half of a surrogate pair, which is no character", s)
		return false
	}
	return r.string(at, s)
}

// loneSurrogate reports whether the bytes of a JSON string escape half of a surrogate pair. The decoder replaces it with U+FFFD.
func loneSurrogate(spelled string) bool {
	for {
		i := strings.IndexByte(spelled, '\\')
		if i < 0 {
			return false
		}
		high, ok := escapedUnit(spelled[i:])
		if !ok {
			spelled = spelled[i+2:]
			continue
		}
		spelled = spelled[i+6:]
		if !utf16.IsSurrogate(high) {
			continue
		}
		low, ok := escapedUnit(spelled)
		if !ok || utf16.DecodeRune(high, low) == utf8.RuneError {
			return true
		}
		spelled = spelled[6:]
	}
}

// escapedUnit parses \uXXXX at the start of s.
func escapedUnit(s string) (rune, bool) {
	if len(s) < 6 || s[:2] != `\u` {
		return 0, false
	}
	unit, err := strconv.ParseUint(s[2:6], 16, 16)
	return rune(unit), err == nil
}
