package fetch

import (
	"net/http"
	"testing"
	"time"
)

const year = 365 * 24 * time.Hour

func TestRetryAfter(t *testing.T) {
	now := time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)
	for s, want := range map[string]time.Duration{
		"": 0, "0": 0, " 7 ": 7 * time.Second, "-7": 0, "7.5": 0, "soon": 0, "3601": 3601 * time.Second, "99999999999999999999999": year, "31536001": year,
		now.Add(time.Minute).Format(http.TimeFormat): time.Minute, now.Add(-time.Minute).Format(http.TimeFormat): 0,
		"Fri, 31 Dec 9999 23:59:59 GMT": year,
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
		if d := parseRetryAfter(s, time.Unix(0, 0)); d < 0 || d > year {
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
