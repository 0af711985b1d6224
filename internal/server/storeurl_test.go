package server

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

// spelled is a store for a test: its URL and what it carries.
func spelled(u storeURL) string {
	s := u.url
	if u.trusted {
		s += " trusted"
	}
	if len(u.keys) > 0 {
		s += " keys=" + strings.Join(u.keys, ",")
	}
	if u.netrc != "" || u.certs != "" {
		s += fmt.Sprintf(" netrc=%s certs=%s", u.netrc, u.certs)
	}
	if u.foreign {
		s += " foreign"
	}
	return s
}

func TestParseStore(t *testing.T) {
	for in, want := range map[string]string{
		"local":                               "local local",
		"local?root=/x":                       "local local?root=/x",
		"https://a":                           "https https://a",
		"HTTP://a/b":                          "http HTTP://a/b",
		"https://a?trusted=true":              "https https://a trusted",
		"https://a?trusted=1&trusted=0":       "https https://a",
		"https://a?trusted=tru%65&priority=3": "https https://a?priority=3 trusted",
		"s3://b?region=eu&trusted=yes&endpoint=h%3A1":       "s3 s3://b?region=eu&endpoint=h%3A1 trusted",
		"file:///d?public-key=n:a+b/c=&public-key=m%3Ax%3D": "file file:///d keys=n:a+b/c=,m:x=",
	} {
		u, err := parseStore(in)
		if got := u.scheme + " " + spelled(u); err != nil || got != want {
			t.Errorf("%s: got %q, %v, want %q", in, got, err, want)
		}
	}
}

func TestParseStoreMistakes(t *testing.T) {
	for in, want := range map[string]string{
		"":                                "store \"\": not known; " + knownStores,
		"cache.nixos.org?x=hush":          "store \"cache.nixos.org\": not known; " + knownStores,
		"ssh://u:hush@h/p":                "store \"ssh://h/p\": not known; " + knownStores,
		"ssh://u:hu?hush@h":               "store \"ssh://…\": not known; " + knownStores,
		"https://u:hush@a?trusted=maybe":  `store "https://a": trusted: want true or false`,
		"https://a?token=hush&trusted":    `store "https://a": trusted: want true or false`,
		"https:/u:hush@a/x":               "store \"…\": not known; " + knownStores,
		"u:hush@a":                        "store \"…\": not known; " + knownStores,
		"https:/a/x#hush":                 "store \"https:/a/x\": not known; " + knownStores,
		"https://a?public-key=%zz?hush":   `store "https://a": public-key: a % in it has to be written %25`,
		"https://a?public-key=x:%zz&b=%z": `store "https://a": public-key: a % in it has to be written %25`,
	} {
		if _, err := parseStore(in); err == nil || err.Error() != want || strings.Contains(err.Error(), "hush") {
			t.Errorf("%s: error is %v, want %s", in, err, want)
		}
	}
}

func FuzzParseStore(f *testing.F) {
	f.Add("https://u:p@h:1/x?trusted=true&public-key=a:b%3D&x=%zz")
	f.Add("file:///a%20b?compression=xz")
	f.Add("local?root=/x")
	f.Fuzz(func(t *testing.T, s string) {
		u, err := parseStore(s)
		if err != nil {
			return
		}
		again, err := parseStore(u.url)
		if err != nil || again.url != u.url || again.trusted || len(again.keys) > 0 {
			t.Errorf("%q: %q leaves %q, %v", s, u.url, spelled(again), err)
		}
		if dir, err := u.directory(); u.scheme == "file" && err == nil && (dir == "" || dir[0] != '/') {
			t.Errorf("%q: directory %q", s, dir)
		}
	})
}

func TestDirectory(t *testing.T) {
	for in, want := range map[string]string{
		"file:///a/b":         "/a/b",
		"file:///a/../b/":     "/b",
		"file:///a%20b%2Bc+d": "/a b+c+d",
		"file:///a?compression=zstd&secret-key=/k&": "/a",
		"file://a":             `store "file://a": want file:// and an absolute directory: file:///DIR`,
		"file://":              `store "file://": want file:// and an absolute directory: file:///DIR`,
		"file:///%00":          `store "file:///%00": want file:// and an absolute directory: file:///DIR`,
		"file:///a?colour=red": `store "file:///a": unknown parameter "colour"; trusted and public-key are known`,
	} {
		u, err := parseStore(in)
		if err != nil {
			t.Fatal(err)
		}
		got, err := u.directory()
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
	}
}

// expanded lists what comes of URLs, and what is logged.
func expanded(x *expansion, urls ...string) (stores []string, defaulted bool, logged string, err error) {
	var log bytes.Buffer
	x.log = slog.New(slog.NewTextHandler(&log, nil))
	all, defaulted, err := x.expand(urls)
	for _, u := range all {
		stores = append(stores, spelled(u))
	}
	return stores, defaulted, log.String(), err
}

func TestGivenStores(t *testing.T) {
	mirrors := []Mirror{{Name: "docker.io"}}
	for _, tt := range []struct {
		name     string
		c        Config
		hasLocal bool
		want     string
	}{
		{"nothing", Config{}, false, "auto"},
		{"a store", Config{Stores: []string{"a", "b"}, Mirrors: mirrors}, false, "a b"},
		{"the demo", Config{Demo: true}, true, ""},
		{"the demo and a store", Config{Demo: true, Stores: []string{"a"}}, true, "a"},
		{"mirrors without Nix", Config{Mirrors: mirrors}, false, ""},
		{"mirrors with Nix", Config{Mirrors: mirrors}, true, "auto"},
		{"mirrors and a channel", Config{Mirrors: mirrors, Channels: []string{"c"}}, false, "auto"},
	} {
		if got := strings.Join(tt.c.givenStores(tt.hasLocal), " "); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestAuto(t *testing.T) {
	for _, tt := range []struct {
		hasLocal  bool
		urls      []string
		want      string
		defaulted bool
	}{
		{true, []string{"auto"}, "local", false},
		{false, []string{"auto"}, "https://cache.nixos.org", true},
		{false, []string{"https://a", "auto"}, "https://a https://cache.nixos.org", true},
		{false, []string{"https://cache.nixos.org"}, "https://cache.nixos.org", false},
		{false, nil, "", false},
	} {
		got, defaulted, _, err := expanded(&expansion{hasLocal: tt.hasLocal}, tt.urls...)
		if s := strings.Join(got, " "); err != nil || s != tt.want || defaulted != tt.defaulted {
			t.Errorf("%q, local %v: got %q, %v, %v", tt.urls, tt.hasLocal, s, defaulted, err)
		}
	}
}

func TestNixConfInPlace(t *testing.T) {
	conf := func() (*nixConf, error) {
		return &nixConf{
			substituters: []string{"https://a?priority=1", "daemon", "ssh://u:hush@h", "/chroot?x", "local?root=/y", "file:///c?trusted=true&public-key=own:1"},
			keys:         []string{"k:1", "k:2"}, netrc: "/n", certs: "/c",
		}, nil
	}
	const carried = " netrc=/n certs=/c foreign"
	got, _, logged, err := expanded(&expansion{hasLocal: true, conf: conf}, "http://first", "nix-conf", "http://last")
	want := []string{
		"http://first", "https://a?priority=1 keys=k:1,k:2" + carried, "local keys=k:1,k:2" + carried,
		"/chroot?x keys=k:1,k:2" + carried, "local?root=/y keys=k:1,k:2" + carried,
		"file:///c trusted keys=own:1,k:1,k:2" + carried, "http://last",
	}
	if err != nil || strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("%v, got\n%s", err, strings.Join(got, "\n"))
	}
	if strings.Count(logged, "\n") != 1 || !strings.Contains(logged, "substituter=ssh://h ") || strings.Contains(logged, "hush") {
		t.Errorf("logged %s", logged)
	}
	if got, _, logged, err = expanded(&expansion{conf: conf}, "nix-conf"); err != nil || len(got) != 4 || strings.Count(logged, "\n") != 2 {
		t.Errorf("without a local store: %q, %v, logged %s", got, err, logged)
	}
}

func TestNixConfWithoutSignatures(t *testing.T) {
	conf := func() (*nixConf, error) { return &nixConf{substituters: []string{"https://a"}, trusted: true}, nil }
	if got, _, _, err := expanded(&expansion{conf: conf}, "nix-conf"); err != nil || got[0] != "https://a trusted foreign" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestNixConfOfNoUse(t *testing.T) {
	conf := func() (*nixConf, error) { return &nixConf{substituters: []string{"daemon"}}, nil }
	if _, _, _, err := expanded(&expansion{conf: conf}, "nix-conf"); err == nil || !strings.Contains(err.Error(), "no substituter that nixreg can read") {
		t.Error(err)
	}
	broken := errors.New("nix.conf:3: broken")
	if _, _, _, err := expanded(&expansion{conf: func() (*nixConf, error) { return nil, broken }}, "nix-conf"); !errors.Is(err, broken) {
		t.Error(err)
	}
}
