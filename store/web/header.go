package web

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
	if isNumber(s) {
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

func isNumber(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// contentRange is what part of a whole an answer has; total is -1 if unknown.
type contentRange struct{ first, last, total int64 }

// parseContentRange reads a Content-Range header of a 206.
//
// Source: RFC 9110, 14.4.
func parseContentRange(s string) (contentRange, bool) {
	unit, rest, _ := strings.Cut(strings.TrimSpace(s), " ")
	span, whole, ok := strings.Cut(strings.TrimSpace(rest), "/")
	from, to, too := strings.Cut(span, "-")
	if !strings.EqualFold(unit, "bytes") || !ok || !too {
		return contentRange{}, false
	}
	c := contentRange{size(from), size(to), size(whole)}
	if c.first < 0 || c.last < c.first {
		return contentRange{}, false
	}
	return c, whole == "*" || c.total > c.last
}

// size reads a number of bytes; -1 if it is none.
func size(s string) int64 {
	if !isNumber(s) {
		return -1
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return -1
	}
	return n
}

// version is what an answer says of the file it has; size is -1 if unknown.
type version struct {
	etag, modified string
	size           int64
}

// versionOf is that of a 200 or a 206.
func versionOf(resp *http.Response) version {
	v := version{resp.Header.Get("ETag"), resp.Header.Get("Last-Modified"), resp.ContentLength}
	if resp.StatusCode == http.StatusPartialContent {
		v.size = -1
		if c, ok := parseContentRange(resp.Header.Get("Content-Range")); ok {
			v.size = c.total
		}
	}
	return v
}

// validator is what If-Range may have; "" if nothing. A weak tag must not be used for that.
//
// Source: RFC 9110, 13.1.5.
func (v version) validator() string {
	if strings.HasPrefix(v.etag, `"`) {
		return v.etag
	}
	return v.modified
}

// differs reports whether w is said to be another version than v; known, whether anything is said that could tell.
func (v version) differs(w version) (differs, known bool) {
	for _, p := range [...][2]string{{v.etag, w.etag}, {v.modified, w.modified}} {
		if p[0] != "" && p[1] != "" {
			known, differs = true, differs || p[0] != p[1]
		}
	}
	if v.size >= 0 && w.size >= 0 {
		known, differs = true, differs || v.size != w.size
	}
	return differs, known
}
