package document

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

// Value is a JSON value that keeps the order of its keys. Strings and keys are kept as they will be written, quotes
// included, so that equal strings are equal texts.
type Value struct {
	Kind  byte     // '{', '[', or 's' for everything else
	Text  string   // of a scalar
	Keys  []string // of an object
	Items []Value
}

// Parse reads a document as Python's json.load does: of equal keys the last value counts, at the place of the first one.
// Errors match [fs.ErrInvalid].
func Parse(b []byte) (Value, error) {
	if !utf8.Valid(b) {
		return Value{}, fmt.Errorf("not UTF-8: %w", fs.ErrInvalid)
	}
	if err := json.Unmarshal(b, new(any)); err != nil {
		return Value{}, fmt.Errorf("%w: %w", err, fs.ErrInvalid)
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

func (p *parser) value(depth int) (Value, error) {
	if depth > maxDepth {
		return Value{}, fmt.Errorf("nested more than %d deep: %w", maxDepth, fs.ErrInvalid)
	}
	switch {
	case p.take('{'):
		return p.object(depth)
	case p.take('['):
		return p.array(depth)
	case p.take('"'):
		return Value{Kind: 's', Text: p.string()}, nil
	}
	n := strings.IndexAny(p.rest, ",]} \t\r\n")
	if n < 0 {
		n = len(p.rest)
	}
	text := p.rest[:n]
	p.rest = p.rest[n:]
	return Value{Kind: 's', Text: pythonNumber(text)}, nil
}

func (p *parser) object(depth int) (Value, error) {
	v := Value{Kind: '{'}
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
			v.Items[i] = item
			continue
		}
		at[key] = len(v.Keys)
		v.Keys, v.Items = append(v.Keys, key), append(v.Items, item)
	}
	return v, nil
}

func (p *parser) array(depth int) (Value, error) {
	v := Value{Kind: '['}
	for !p.take(']') {
		p.take(',')
		item, err := p.value(depth + 1)
		if err != nil {
			return v, err
		}
		v.Items = append(v.Items, item)
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

// Quote writes s as Python's json.dumps does, in ASCII only.
func Quote(s string) string {
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

// AsString returns the value of a string, and false for every other kind.
func (v Value) AsString() (string, bool) {
	if v.Kind != 's' || !strings.HasPrefix(v.Text, `"`) {
		return "", false
	}
	var s string
	err := json.Unmarshal([]byte(v.Text), &s)
	return s, err == nil
}

// Get returns the item under a key of an object. key is not quoted.
func (v Value) Get(key string) (Value, bool) {
	for i, k := range v.Keys {
		if k == Quote(key) {
			return v.Items[i], true
		}
	}
	return Value{}, false
}

// Set puts an item under a key of an object: at the place of the old item, or last.
func (v *Value) Set(key string, item Value) {
	for i, k := range v.Keys {
		if k == Quote(key) {
			v.Items[i] = item
			return
		}
	}
	v.Keys, v.Items = append(v.Keys, Quote(key)), append(v.Items, item)
}

// String returns a JSON string.
func String(s string) Value { return Value{Kind: 's', Text: Quote(s)} }

// List returns a JSON array.
func List(items ...Value) Value { return Value{Kind: '[', Items: items} }

// Indented writes v as Python's json.dumps(indent=4) does.
func (v Value) Indented() []byte { return v.append(nil, 0) }

// Compact writes v without white space.
func (v Value) Compact() []byte { return v.append(nil, -1) }

// append appends v at a depth of indentation; none if that is negative.
func (v Value) append(b []byte, depth int) []byte {
	if v.Kind == 's' {
		return append(b, v.Text...)
	}
	inner, colon, closing := depth+1, ": ", byte(']')
	if depth < 0 {
		inner, colon = depth, ":"
	}
	if v.Kind == '{' {
		closing = '}'
	}
	b = append(b, v.Kind)
	for i, item := range v.Items {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendNewline(b, inner)
		if v.Kind == '{' {
			b = append(b, v.Keys[i]...)
			b = append(b, colon...)
		}
		b = item.append(b, inner)
	}
	if len(v.Items) > 0 {
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
