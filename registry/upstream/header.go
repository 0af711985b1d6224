package upstream

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

const maxRetryAfter = time.Hour

// parseRetryAfter reads a Retry-After header, seconds or a date; 0 if it says nothing, at most maxRetryAfter.
//
// Source: RFC 9110, 10.2.3.
func parseRetryAfter(s string, now time.Time) time.Duration {
	s = strings.TrimSpace(s)
	if s == "" {
		return 0
	}
	if strings.Trim(s, "0123456789") == "" {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil || n > int64(maxRetryAfter/time.Second) {
			return maxRetryAfter
		}
		return time.Duration(n) * time.Second
	}
	t, err := http.ParseTime(s)
	if err != nil {
		return 0
	}
	return max(0, min(t.Sub(now), maxRetryAfter))
}

// contentRange is what part of a whole an answer has; total is -1 if unknown.
type contentRange struct{ first, last, total int64 }

// parseContentRange reads a Content-Range header of a 206.
//
// Source: RFC 9110, 14.4.
func parseContentRange(s string) (contentRange, bool) {
	unit, rest, _ := strings.Cut(strings.TrimSpace(s), " ")
	span, total, ok := strings.Cut(rest, "/")
	first, last, too := strings.Cut(span, "-")
	if !strings.EqualFold(unit, "bytes") || !ok || !too {
		return contentRange{}, false
	}
	c := contentRange{parseSize(first), parseSize(last), parseSize(total)}
	if total == "*" {
		return contentRange{c.first, c.last, -1}, c.first >= 0 && c.last >= c.first
	}
	return c, c.first >= 0 && c.last >= c.first && c.total > c.last
}

// parseSize reads a number of bytes; -1 if it is none.
func parseSize(s string) int64 {
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return -1
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return -1
	}
	return n
}

// parseNext finds the address of the next page in Link headers; "" if there is none.
//
// Source: RFC 8288, 3.
func parseNext(links []string) string {
	for _, s := range links {
		for s != "" {
			_, after, ok := strings.Cut(s, "<")
			if !ok {
				break
			}
			to, params, ok := strings.Cut(after, ">")
			if !ok {
				break
			}
			var next bool
			next, s = parseRelation(params)
			if next {
				return strings.TrimSpace(to)
			}
		}
	}
	return ""
}

// parseRelation reads the parameters of a link up to the comma that ends it, and reports whether one is rel=next.
func parseRelation(s string) (next bool, rest string) {
	quoted, start := false, 0
	for i := 0; i <= len(s); i++ {
		switch {
		case i < len(s) && s[i] == '"':
			quoted = !quoted
		case i == len(s), !quoted && (s[i] == ';' || s[i] == ','):
			key, value, _ := strings.Cut(s[start:i], "=")
			if strings.EqualFold(strings.TrimSpace(key), "rel") && hasRelation(value) {
				next = true
			}
			if i == len(s) || s[i] == ',' {
				return next, s[min(i+1, len(s)):]
			}
			start = i + 1
		}
	}
	return next, ""
}

func hasRelation(value string) bool {
	for _, rel := range strings.Fields(strings.Trim(strings.TrimSpace(value), `"`)) {
		if strings.EqualFold(rel, "next") {
			return true
		}
	}
	return false
}
