package manifest

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// maxDepth bounds the nesting of a document from outside.
const maxDepth = 200

// value is a JSON value that keeps the order of its keys. Strings and keys are held in their final spelling, quotes
// included, so that equal strings are equal texts.
type value struct {
	kind  byte     // '{', '[', or 's' for everything else
	text  string   // of a scalar
	keys  []string // of an object
	items []value
}

// parseJSON reads a document as Python's json.load does: of equal keys the last value stays, at the first one's place.
func parseJSON(b []byte) (value, error) {
	if !utf8.Valid(b) {
		return value{}, fmt.Errorf("not UTF-8: %w", fs.ErrInvalid)
	}
	if err := json.Unmarshal(b, new(any)); err != nil {
		return value{}, fmt.Errorf("%w: %w", err, fs.ErrInvalid)
	}
	p := parser{rest: string(b)}
	return p.value(0)
}

// parser walks a text that is known to be valid JSON.
type parser struct{ rest string }

func (p *parser) space() { p.rest = strings.TrimLeft(p.rest, " \t\r\n") }

// take passes over c if it comes next.
func (p *parser) take(c byte) bool {
	p.space()
	if p.rest == "" || p.rest[0] != c {
		return false
	}
	p.rest = p.rest[1:]
	return true
}

func (p *parser) value(depth int) (value, error) {
	if depth > maxDepth {
		return value{}, fmt.Errorf("nested more than %d deep: %w", maxDepth, fs.ErrInvalid)
	}
	switch {
	case p.take('{'):
		return p.object(depth)
	case p.take('['):
		return p.array(depth)
	case p.take('"'):
		return value{kind: 's', text: p.string()}, nil
	}
	n := strings.IndexAny(p.rest, ",]} \t\r\n")
	if n < 0 {
		n = len(p.rest)
	}
	text := p.rest[:n]
	p.rest = p.rest[n:]
	return value{kind: 's', text: pythonNumber(text)}, nil
}

func (p *parser) object(depth int) (value, error) {
	v := value{kind: '{'}
	at := make(map[string]int)
	for !p.take('}') {
		p.take(',')
		p.take('"')
		key := p.string()
		p.take(':')
		item, err := p.value(depth + 1)
		if err != nil {
			return v, err
		}
		if i, ok := at[key]; ok {
			v.items[i] = item
			continue
		}
		at[key] = len(v.keys)
		v.keys, v.items = append(v.keys, key), append(v.items, item)
	}
	return v, nil
}

func (p *parser) array(depth int) (value, error) {
	v := value{kind: '['}
	for !p.take(']') {
		p.take(',')
		item, err := p.value(depth + 1)
		if err != nil {
			return v, err
		}
		v.items = append(v.items, item)
	}
	return v, nil
}

// string reads the rest of a string whose opening quote was taken, into its final spelling.
func (p *parser) string() string {
	var b strings.Builder
	b.WriteByte('"')
	for {
		r, size := utf8.DecodeRuneInString(p.rest)
		p.rest = p.rest[size:]
		switch r {
		case '"':
			b.WriteByte('"')
			return b.String()
		case '\\':
			p.escape(&b)
		default:
			quoteRune(&b, r)
		}
	}
}

func (p *parser) escape(b *strings.Builder) {
	c := p.rest[0]
	p.rest = p.rest[1:]
	if c != 'u' {
		short := strings.IndexByte(`bfnrt"\/`, c)
		quoteRune(b, rune("\b\f\n\r\t\"\\/"[short]))
		return
	}
	unit, _ := strconv.ParseUint(p.rest[:4], 16, 16) // valid JSON has four hex digits here
	p.rest = p.rest[4:]
	quoteUnit(b, uint16(unit)) // lone surrogates stay as they are, as in Python
}

// quote is s as Python's json.dumps spells it: ASCII only.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		quoteRune(&b, r)
	}
	b.WriteByte('"')
	return b.String()
}

func quoteRune(b *strings.Builder, r rune) {
	if hi, lo := utf16.EncodeRune(r); hi != utf8.RuneError {
		quoteUnit(b, uint16(hi))
		quoteUnit(b, uint16(lo))
		return
	}
	quoteUnit(b, uint16(r))
}

func quoteUnit(b *strings.Builder, u uint16) {
	const escaped = "\b\f\n\r\t\"\\"
	switch i := strings.IndexRune(escaped, rune(u)); {
	case i >= 0:
		b.WriteByte('\\')
		b.WriteByte(`bfnrt"\`[i])
	case u >= ' ' && u < 0x7f:
		b.WriteByte(byte(u))
	default:
		fmt.Fprintf(b, `\u%04x`, u)
	}
}

// pythonNumber is a JSON number as Python prints it after reading it; other scalars stay.
func pythonNumber(text string) string {
	if text == "-0" {
		return "0"
	}
	if !strings.ContainsAny(text, ".eE") || text == "true" || text == "false" {
		return text
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil { // out of range: Python reads infinity
		return strings.Replace("-Infinity", "-", text[:strings.IndexAny(text, "0123456789")], 1)
	}
	e := strconv.FormatFloat(f, 'e', -1, 64)
	exp, _ := strconv.Atoi(e[strings.IndexByte(e, 'e')+1:])
	if f != 0 && (exp < -4 || exp >= 16) {
		return e
	}
	s := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}

// string is the value of a scalar string.
func (v value) string() (string, bool) {
	if v.kind != 's' || !strings.HasPrefix(v.text, `"`) {
		return "", false
	}
	var s string
	err := json.Unmarshal([]byte(v.text), &s)
	return s, err == nil
}

// get returns the item under a key, in plain spelling.
func (v value) get(key string) (value, bool) {
	for i, k := range v.keys {
		if k == quote(key) {
			return v.items[i], true
		}
	}
	return value{}, false
}

// set puts an item under a key: in its place, or last.
func (v *value) set(key string, item value) {
	for i, k := range v.keys {
		if k == quote(key) {
			v.items[i] = item
			return
		}
	}
	v.keys, v.items = append(v.keys, quote(key)), append(v.items, item)
}

func stringValue(s string) value { return value{kind: 's', text: quote(s)} }

func listValue(items ...value) value { return value{kind: '[', items: items} }

// indented is v as Python's json.dumps(indent=4) writes it.
func (v value) indented() []byte { return v.append(nil, 0) }

// compact is v without any white space.
func (v value) compact() []byte { return v.append(nil, -1) }

// append appends v at a depth of indentation; none if that is negative.
func (v value) append(b []byte, depth int) []byte {
	if v.kind == 's' {
		return append(b, v.text...)
	}
	inner, colon, closing := depth+1, ": ", byte(']')
	if depth < 0 {
		inner, colon = depth, ":"
	}
	if v.kind == '{' {
		closing = '}'
	}
	b = append(b, v.kind)
	for i, item := range v.items {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendNewline(b, inner)
		if v.kind == '{' {
			b = append(b, v.keys[i]...)
			b = append(b, colon...)
		}
		b = item.append(b, inner)
	}
	if len(v.items) > 0 {
		b = appendNewline(b, depth)
	}
	return append(b, closing)
}

func appendNewline(b []byte, depth int) []byte {
	if depth < 0 {
		return b
	}
	b = append(b, '\n')
	for range depth {
		b = append(b, "    "...)
	}
	return b
}
