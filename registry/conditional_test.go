package registry

import (
	"math"
	"net/http"
	"testing"
)

func TestParseRange(t *testing.T) {
	const huge = "99999999999999999999999999"
	for _, c := range []struct {
		header string
		size   int64
		off, n int64
		want   verdict
	}{
		{"bytes=500-1499", 2048, 500, 1000, part},
		{"bytes=500-", 2048, 500, 1548, part},
		{"bytes=-500", 2048, 1548, 500, part},
		{"bytes=2000-5000", 2048, 2000, 48, part},
		{"bytes=0-0", 2048, 0, 1, part},
		{"bytes=0-2047", 2048, 0, 2048, part},
		{"bytes=2047-", 2048, 2047, 1, part},
		{"bytes=-5000", 2048, 0, 2048, part},
		{"bytes=0-" + huge, 2048, 0, 2048, part},
		{"bytes=-" + huge, 2048, 0, 2048, part},
		{"bytes=0009-0010", 2048, 9, 2, part},
		{"Bytes=0-1", 2048, 0, 2, part},
		{"bytes= 0-1 ", 2048, 0, 2, part},
		{"bytes=0-9223372036854775807", math.MaxInt64, 0, math.MaxInt64, part},
		{"bytes=500-0", 2048, 0, 2048, unsatisfiable},
		{"bytes=5000-10000", 2048, 0, 2048, unsatisfiable},
		{"bytes=2048-", 2048, 0, 2048, unsatisfiable},
		{"bytes=" + huge + "-", 2048, 0, 2048, unsatisfiable},
		{"bytes=" + huge + "-" + huge, 2048, 0, 2048, unsatisfiable},
		{"bytes=-0", 2048, 0, 2048, unsatisfiable},
		{"bytes=0-1,4-5", 2048, 0, 2048, whole},
		{"bytes=-1,-2", 2048, 0, 2048, whole},
		{"bytes=", 2048, 0, 2048, whole},
		{"bytes=-", 2048, 0, 2048, whole},
		{"bytes=--1", 2048, 0, 2048, whole},
		{"bytes=1-2-3", 2048, 0, 2048, whole},
		{"bytes=+1-2", 2048, 0, 2048, whole},
		{"bytes=1 - 2", 2048, 0, 2048, whole},
		{"bytes=a-b", 2048, 0, 2048, whole},
		{"bytes=1", 2048, 0, 2048, whole},
		{"bytes", 2048, 0, 2048, whole},
		{"lines=0-1", 2048, 0, 2048, whole},
		{"", 2048, 0, 2048, whole},
		{"bytes=0-", 0, 0, 0, whole},
		{"bytes=-1", 0, 0, 0, whole},
	} {
		s, v := parseRange(c.header, c.size)
		if s != (span{c.off, c.n}) || v != c.want {
			t.Errorf("%q of %d: got %+v %d, want %+v %d", c.header, c.size, s, v, span{c.off, c.n}, c.want)
		}
	}
}

func FuzzRange(f *testing.F) {
	for _, s := range []string{"bytes=0-1", "bytes=-1", "bytes=5-", "bytes=5-0", "bytes=9223372036854775808-", "bytes=0-1,2-3", "x"} {
		f.Add(s, int64(2048))
	}
	f.Fuzz(func(t *testing.T, header string, size int64) {
		if size < 0 {
			return
		}
		s, v := parseRange(header, size)
		if s.off < 0 || s.n < 0 || s.off > size || s.n > size-s.off {
			t.Fatalf("%q of %d: %+v lies outside", header, size, s)
		}
		if v == part && s.n == 0 || v != part && s != (span{0, size}) {
			t.Fatalf("%q of %d: %+v with verdict %d", header, size, s, v)
		}
	})
}

func TestRequestedRange(t *testing.T) {
	const tag = `"sha256:0"`
	for _, c := range []struct {
		name   string
		header http.Header
		want   verdict
	}{
		{"none", http.Header{}, whole},
		{"range", http.Header{"Range": {"bytes=0-1"}}, part},
		{"two lines", http.Header{"Range": {"bytes=0-1", "bytes=0-1"}}, whole},
		{"same tag", http.Header{"Range": {"bytes=0-1"}, "If-Range": {" " + tag}}, part},
		{"other tag", http.Header{"Range": {"bytes=0-1"}, "If-Range": {`"sha256:1"`}}, whole},
		{"weak tag", http.Header{"Range": {"bytes=0-1"}, "If-Range": {"W/" + tag}}, whole},
		{"date", http.Header{"Range": {"bytes=0-1"}, "If-Range": {"Thu, 01 Jan 1970 00:00:01 GMT"}}, whole},
		{"empty", http.Header{"Range": {"bytes=0-1"}, "If-Range": {""}}, whole},
		{"two conditions", http.Header{"Range": {"bytes=0-1"}, "If-Range": {tag, tag}}, whole},
		{"other tag, bad range", http.Header{"Range": {"bytes=9-0"}, "If-Range": {`"x"`}}, whole},
	} {
		if _, got := requestedRange(c.header, tag, 10); got != c.want {
			t.Errorf("%s: got %d, want %d", c.name, got, c.want)
		}
	}
}

func TestNotModified(t *testing.T) {
	const tag = `"sha256:0"`
	for _, c := range []struct {
		lines []string
		want  bool
	}{
		{nil, false},
		{[]string{""}, false},
		{[]string{tag}, true},
		{[]string{"W/" + tag}, true},
		{[]string{"*"}, true},
		{[]string{`"x", "y" , ` + tag}, true},
		{[]string{`"x"`, tag}, true},
		{[]string{`"x"`, `"sha256:00"`}, false},
		{[]string{"sha256:0"}, false},
		{[]string{"w/" + tag}, false},
	} {
		if got := notModified(http.Header{"If-None-Match": c.lines}, tag); got != c.want {
			t.Errorf("%q: got %t", c.lines, got)
		}
	}
}
