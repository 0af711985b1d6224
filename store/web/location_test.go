package web

import (
	"errors"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"testing"
)

func TestParseLocation(t *testing.T) {
	for _, c := range []struct{ in, base, shown, rest string }{
		{"https://cache.nixos.org", "https://cache.nixos.org", "https://cache.nixos.org", ""},
		{"https://Cache.Nixos.org/", "https://cache.nixos.org", "https://cache.nixos.org", ""},
		{"http://host:8080/a/b//?trusted=true&public-key=k", "http://host:8080/a/b", "http://host:8080/a/b", "public-key trusted"},
		{"https://me:secret@host/x?priority=10&want-mass-query=1&compression=zstd", "https://host/x", "https://host/x", ""},
		{"https://host/a%2Fb", "https://host/a%2Fb", "https://host/a%2Fb", ""},
		{"s3://cache", "https://cache.s3.us-east-1.amazonaws.com", "s3://cache", ""},
		{"s3://cache/?region=eu-west-1&profile=x", "https://cache.s3.eu-west-1.amazonaws.com", "s3://cache", ""},
		{"s3://cache/team/a?region=cn-north-1", "https://cache.s3.cn-north-1.amazonaws.com.cn/team/a", "s3://cache/team/a", ""},
		{"s3://dotted.name?scheme=http", "http://s3.us-east-1.amazonaws.com/dotted.name", "s3://dotted.name", ""},
		{"s3://cache?addressing-style=path", "https://s3.us-east-1.amazonaws.com/cache", "s3://cache", ""},
		{"s3://cache?endpoint=minio:9000&scheme=http", "http://minio:9000/cache", "s3://cache?endpoint=minio%3A9000", ""},
		{"s3://cache/p?endpoint=http://minio:9000/&secret-key=/k&multipart-upload=true", "http://minio:9000/cache/p", "s3://cache/p?endpoint=http%3A%2F%2Fminio%3A9000%2F", ""},
		{"s3://cache?endpoint=https://h/sub&addressing-style=virtual", "https://cache.h/sub", "s3://cache?endpoint=https%3A%2F%2Fh%2Fsub", ""},
		{"s3://cache/a+b?endpoint=h", "https://h/cache/a%2Bb", "s3://cache/a+b?endpoint=h", ""},
	} {
		l, rest, err := ParseLocation(c.in)
		if err != nil {
			t.Errorf("%s: %v", c.in, err)
			continue
		}
		if got := l.base.String(); got != c.base || l.String() != c.shown {
			t.Errorf("%s: %s, %s; want %s, %s", c.in, got, l, c.base, c.shown)
		}
		if got := strings.Join(slices.Sorted(maps.Keys(rest)), " "); got != c.rest {
			t.Errorf("%s: left %q, want %q", c.in, got, c.rest)
		}
	}
}

func TestParseLocationRefuses(t *testing.T) {
	for in, want := range map[string]string{
		"":                                   "want https",
		"cache.nixos.org":                    "want https",
		"ftp://host":                         `scheme "ftp"`,
		"https:///path":                      "want https",
		"https://me:hunter2@host:port/":      "not a URL",
		"https://me:hun?ter2@host/":          "not a URL",
		"https://me?hunter2@host/":           "want parameters",
		"https://host/#x":                    "want https",
		"https://host?netrc-file=rel":        "not an absolute path",
		"https://host?token-file=":           "no value",
		"https://host?ca-file=/a&ca-file=/b": "2 times",
		"https://host?x=%zz":                 "percent-encoded",
		"s3://":                              "want https",
		"s3://key:hunter2@bucket":            "want s3://bucket",
		"s3://bucket:80":                     "want s3://bucket",
		"s3://b?scheme=ftp":                  "want https or http",
		"s3://b?region=a/b":                  "region",
		"s3://b?addressing-style=odd":        "auto, path or virtual",
		"s3://b?endpoint=http://u:hunter2@h": "endpoint",
		"s3://b?token-file=/t":               "for http and https",
		"https://h/" + strings.Repeat("x", maxLocation): "longer",
	} {
		_, _, err := ParseLocation(in)
		if !errors.Is(err, fs.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%.80s: %v, want %q", in, err, want)
		} else if s := err.Error(); strings.Contains(s, "hun") || strings.Contains(s, "\n") || len(s) > 700 {
			t.Errorf("%.80s: %s", in, s)
		}
	}
}

func TestTarget(t *testing.T) {
	for _, c := range []struct{ location, name, want string }{
		{"https://h", "nix-cache-info", "https://h/nix-cache-info"},
		{"https://h/a%2Fb/", "nar/x.nar.xz", "https://h/a%2Fb/nar/x.nar.xz"},
		{"https://h", "nar/x.nar?hash=abc", "https://h/nar/x.nar?hash=abc"},
		{"https://h", "log/a b#c%20d", "https://h/log/a%20b%23c%20d"},
		{"https://h", "gtk+3%zz", "https://h/gtk+3%25zz"},
		{"s3://b?endpoint=h", "log/gtk+3 ?=%20.drv", "https://h/b/log/gtk%2B3%20%3F%3D%2520.drv"},
	} {
		l, _, err := ParseLocation(c.location)
		if err != nil {
			t.Fatal(err)
		}
		u, err := l.target(c.name)
		if err != nil || u.String() != c.want {
			t.Errorf("%s, %s: %v, %v; want %s", c.location, c.name, u, err, c.want)
		}
	}
	l, _, _ := ParseLocation("https://h/a")
	for _, name := range []string{"", "/x", ".", "../x", "a/../b", "%2e%2e/x", "a//b", "a/", "?q", "a\nb", "a?\r\nb", "https://h/a/x", strings.Repeat("x", maxName+1)} {
		if u, err := l.target(name); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%.50q: %v, %v", name, u, err)
		}
	}
}

func FuzzParseLocation(f *testing.F) {
	for _, s := range []string{"https://u:secret@h/p?netrc-file=/n", "s3://b/p?endpoint=http://h:1&region=x", "http://[::1]:80/%2F", "s3://b?x=@"} {
		f.Add(s, "nar/x.nar.xz?hash=1")
	}
	f.Fuzz(func(t *testing.T, s, name string) {
		l, _, err := ParseLocation(s)
		if err != nil {
			if !errors.Is(err, fs.ErrInvalid) || len(err.Error()) > 2000 {
				t.Fatal(err)
			}
			return
		}
		u, err := l.target(name)
		if err != nil {
			return
		}
		if u.Scheme != l.base.Scheme || u.Host != l.base.Host || !strings.HasPrefix(u.Path, l.base.Path+"/") || u.User != nil {
			t.Errorf("%q leads to %q", name, u)
		}
	})
}
