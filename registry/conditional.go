package registry

import (
	"math"
	"net/http"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// etag is the strong entity tag of content with digest d.
func etag(d v1.Hash) string { return `"` + d.String() + `"` }

// notModified reports whether If-None-Match is "*" or has tag in its list. The comparison is weak (RFC 9110, section 13.1.2). Our tags
// have no comma, so one in another tag does no harm.
func notModified(h http.Header, tag string) bool {
	for _, line := range h.Values("If-None-Match") {
		for element := range strings.SplitSeq(line, ",") {
			element = trimSpace(element)
			if element == "*" || strings.TrimPrefix(element, "W/") == tag {
				return true
			}
		}
	}
	return false
}

// verdict is the result of a Range header.
type verdict uint8

const (
	whole         verdict = iota // no usable range: 200
	part                         // 206
	unsatisfiable                // 416
)

// span is n bytes from offset off on.
type span struct{ off, n int64 }

// requestedRange evaluates Range and If-Range for content of size bytes with an entity tag. A date in If-Range never matches, because
// content has no date here; nor does a weak tag (RFC 9110, section 13.1.5).
func requestedRange(h http.Header, tag string, size int64) (span, verdict) {
	lines := h.Values("Range")
	if len(lines) != 1 {
		return span{0, size}, whole
	}
	if cond := h.Values("If-Range"); len(cond) > 0 && (len(cond) > 1 || trimSpace(cond[0]) != tag) {
		return span{0, size}, whole
	}
	return parseRange(lines[0], size)
}

// parseRange parses one range of bytes (RFC 9110, section 14.1.2) and clips it to size. Other units, malformed ranges, several ranges, and
// any range of empty content mean the whole. A range that ends before its start is unsatisfiable, as clients of registries expect.
func parseRange(s string, size int64) (span, verdict) {
	all := span{0, size}
	unit, set, ok := strings.Cut(s, "=")
	if !ok || !strings.EqualFold(trimSpace(unit), "bytes") {
		return all, whole
	}
	first, last, ok := strings.Cut(trimSpace(set), "-")
	if !ok || !isDigits(first) || !isDigits(last) || first == "" && last == "" || size <= 0 {
		return all, whole
	}
	if first == "" {
		n := min(parseDigits(last), size)
		if n == 0 {
			return all, unsatisfiable
		}
		return span{size - n, n}, part
	}
	from, to := parseDigits(first), size-1
	if last != "" {
		to = min(parseDigits(last), to)
	}
	if from > to {
		return all, unsatisfiable
	}
	return span{from, to - from + 1}, part
}

// isDigits reports true for the empty string, too.
func isDigits(s string) bool { return strings.Trim(s, "0123456789") == "" }

// parseDigits parses a decimal number. One that is too large becomes the largest int64.
func parseDigits(s string) (n int64) {
	for _, c := range s {
		d := int64(c - '0')
		if n > (math.MaxInt64-d)/10 {
			return math.MaxInt64
		}
		n = n*10 + d
	}
	return n
}
