package layer

import (
	"strings"
	"unicode/utf8"
)

// comparePython orders names as Python sorts pathlib paths: component by component, each by Unicode code point. A byte that is
// not UTF-8 counts as U+DC80 to U+DCFF (surrogateescape). Names in UTF-8 have the order of their bytes.
func comparePython(a, b string) int {
	if utf8.ValidString(a) && utf8.ValidString(b) {
		return compareComponents(a, b)
	}
	for {
		x, restA, moreA := strings.Cut(a, "/")
		y, restB, moreB := strings.Cut(b, "/")
		if c := compareEscaped(x, y); c != 0 {
			return c
		}
		switch {
		case moreA && moreB:
		case moreB:
			return -1
		case moreA:
			return 1
		default:
			return 0
		}
		a, b = restA, restB
	}
}

// compareComponents orders names component by component, each by bytes: "/" sorts before every other byte.
func compareComponents(a, b string) int {
	n := min(len(a), len(b))
	for i := range n {
		x, y := a[i], b[i]
		if x == y {
			continue
		}
		switch {
		case x == '/':
			return -1
		case y == '/':
			return 1
		case x < y:
			return -1
		}
		return 1
	}
	return len(a) - len(b)
}

func compareEscaped(a, b string) int {
	for a != "" && b != "" {
		x, n := decodeEscaped(a)
		y, m := decodeEscaped(b)
		if x != y {
			return int(x) - int(y)
		}
		a, b = a[n:], b[m:]
	}
	return len(a) - len(b)
}

func decodeEscaped(s string) (r rune, size int) {
	r, size = utf8.DecodeRuneInString(s)
	if r == utf8.RuneError && size == 1 {
		return 0xDC00 + rune(s[0]), 1
	}
	return r, size
}
