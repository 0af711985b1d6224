package imagefile

import (
	"fmt"
	"slices"
	"strings"
)

// appendJSON appends a value without floats in the form of Nix's builtins.toJSON: no blanks, keys sorted by bytes, and only the
// escapes that JSON demands.
//
// Source: Nix 2.15 and later, libexpr/value-to-json.cc; older ones write \b and \f with four digits.
func appendJSON(b []byte, n *node) []byte {
	switch n.kind {
	case text:
		return appendString(b, n.text)
	case list:
		b = append(b, '[')
		for i, item := range n.items {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendJSON(b, item)
		}
		return append(b, ']')
	case object:
		sorted := slices.SortedFunc(slices.Values(n.members), func(x, y member) int { return strings.Compare(x.key, y.key) })
		b = append(b, '{')
		for i, m := range sorted {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(appendString(b, m.key), ':')
			b = appendJSON(b, m.value)
		}
		return append(b, '}')
	}
	return append(b, n.text...)
}

func appendString(b []byte, s string) []byte {
	const escaped = "\b\f\n\r\t\"\\"
	b = append(b, '"')
	for i := range len(s) {
		c := s[i]
		switch short := strings.IndexByte(escaped, c); {
		case short >= 0:
			b = append(b, '\\', `bfnrt"\`[short])
		case c < ' ':
			b = fmt.Appendf(b, `\u%04x`, c)
		default:
			b = append(b, c)
		}
	}
	return append(b, '"')
}
