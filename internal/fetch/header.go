package fetch

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// parseRetryAfter reads a Retry-After header, seconds or a date; 0 if it says nothing, at most a year.
//
// Source: RFC 9110, 10.2.3.
func parseRetryAfter(s string, now time.Time) time.Duration {
	const most = 365 * 24 * time.Hour
	s = strings.TrimSpace(s)
	if s != "" && strings.Trim(s, "0123456789") == "" {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil || n > int64(most/time.Second) {
			return most
		}
		return time.Duration(n) * time.Second
	}
	t, err := http.ParseTime(s)
	if err != nil {
		return 0
	}
	return max(0, min(t.Sub(now), most))
}

// contentRange is what part of a whole an answer has; total is -1 if unknown.
type contentRange struct{ first, last, total int64 }

// parseContentRange reads a Content-Range header of a 206.
//
// Source: RFC 9110, 14.4.
func parseContentRange(s string) (contentRange, bool) {
	unit, rest, _ := strings.Cut(strings.TrimSpace(s), " ")
	span, total, ok := strings.Cut(strings.TrimSpace(rest), "/")
	first, last, too := strings.Cut(span, "-")
	c := contentRange{parseSize(first), parseSize(last), parseSize(total)}
	if !strings.EqualFold(unit, "bytes") || !ok || !too || c.first < 0 || c.last < c.first {
		return contentRange{}, false
	}
	return c, total == "*" || c.total > c.last
}

// parseSize reads a number of bytes; -1 if it is none.
func parseSize(s string) int64 {
	n, err := strconv.ParseUint(s, 10, 63)
	if err != nil || strings.HasPrefix(s, "+") {
		return -1
	}
	return int64(n)
}
