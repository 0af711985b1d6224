package upstream

import (
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestRetryAfter(t *testing.T) {
	now := time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)
	for s, want := range map[string]time.Duration{
		"": 0, "0": 0, " 7 ": 7 * time.Second, "-7": 0, "7.5": 0, "soon": 0, "3601": time.Hour, "99999999999999999999999": time.Hour,
		now.Add(time.Minute).Format(http.TimeFormat): time.Minute, now.Add(-time.Minute).Format(http.TimeFormat): 0,
		"Fri, 31 Dec 9999 23:59:59 GMT": time.Hour,
	} {
		if got := parseRetryAfter(s, now); got != want {
			t.Errorf("%q: %v; want %v", s, got, want)
		}
	}
}

func FuzzRetryAfter(f *testing.F) {
	f.Add("7")
	f.Add("Wed, 01 Jan 2025 00:00:00 GMT")
	f.Fuzz(func(t *testing.T, s string) {
		if d := parseRetryAfter(s, time.Unix(0, 0)); d < 0 || d > maxRetryAfter {
			t.Errorf("%q: %v", s, d)
		}
	})
}

func TestContentRange(t *testing.T) {
	for s, want := range map[string]contentRange{
		"bytes 0-0/1": {0, 0, 1}, "Bytes 5-9/10": {5, 9, 10}, "bytes 5-9/*": {5, 9, -1},
	} {
		if got, ok := parseContentRange(s); !ok || got != want {
			t.Errorf("%q: %v, %v", s, got, ok)
		}
	}
	for _, s := range []string{"", "bytes", "bytes 5-9", "bytes */10", "bytes 9-5/10", "bytes 5-10/10", "bytes -5-9/10", "bytes +5-9/10", "items 5-9/10",
		"bytes 5-9/-1", "bytes 5-/10", "bytes -9/10", "bytes 5-99999999999999999999/*"} {
		if got, ok := parseContentRange(s); ok {
			t.Errorf("%q: %v", s, got)
		}
	}
}

func FuzzContentRange(f *testing.F) {
	f.Add("bytes 5-9/10")
	f.Add("bytes 5-9/*")
	f.Fuzz(func(t *testing.T, s string) {
		if c, ok := parseContentRange(s); ok && (c.first < 0 || c.last < c.first || c.total >= 0 && c.total <= c.last) {
			t.Errorf("%q: %v", s, c)
		}
	})
}

func TestNext(t *testing.T) {
	for s, want := range map[string]string{
		"": "", "<x>": "", "<x>; rel=prev": "", "<x>; rel=next": "x", `<x>;REL = "Next"`: "x", `<x>; a="rel=next"`: "", `<x>; rel="a next b"`: "x",
		`<x>; rel=prev, <y>; rel=next`: "y", `<x>; t=",<z>", <y>; rel=next`: "y", "<x; rel=next": "", "x; rel=next": "", `<x>; rel="next`: "x",
	} {
		if got := parseNext([]string{s}); got != want {
			t.Errorf("%q: %q; want %q", s, got, want)
		}
	}
	if got := parseNext([]string{"<x>; rel=first", "<y>; rel=next"}); got != "y" {
		t.Error(got)
	}
}

func FuzzNext(f *testing.F) {
	f.Add(`<?last=77>; rel="prev", <?last=3>;rel="next"`)
	f.Add(`<x>; title="a, <b>; rel=x"; rel="prev next"`)
	f.Fuzz(func(t *testing.T, s string) {
		if got := parseNext([]string{s}); got != "" && !strings.Contains(s, "<"+got) && !strings.Contains(s, got) {
			t.Errorf("%q: %q", s, got)
		}
	})
}

func FuzzFirstMessage(f *testing.F) {
	f.Add([]byte(`{"errors":[{"code":"DENIED","message":"no\nway"}]}`))
	f.Add([]byte(`{"details":"` + strings.Repeat("ä", 1000) + `"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s := firstMessage(b)
		if len(s) > 3*maxText || !utf8.ValidString(s) || strings.ContainsAny(s, "\n\r\x1b") {
			t.Errorf("%q: %q", b, s)
		}
	})
}
