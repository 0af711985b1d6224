package upstream

import (
	"strings"
	"testing"
	"unicode/utf8"
)

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
		if len(s) > 2*300 || !utf8.ValidString(s) || strings.ContainsAny(s, "\n\r\x1b") {
			t.Errorf("%q: %q", b, s)
		}
	})
}
