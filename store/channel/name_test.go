package channel

import (
	"errors"
	"io/fs"
	"strings"
	"testing"
)

func TestParseName(t *testing.T) {
	for _, tt := range []struct{ arg, name, location string }{
		{"nixos-unstable", "nixos-unstable", "https://channels.nixos.org/nixos-unstable"},
		{"nixos-25.11-small", "nixos-25.11-small", "https://channels.nixos.org/nixos-25.11-small"},
		{"nixos-25.11.1234.abcdef012345", "nixos-25.11.1234.abcdef012345", "https://releases.nixos.org/nixos/25.11/nixos-25.11.1234.abcdef012345"},
		{"nixos-26.05pre912345.abcdef0", "nixos-26.05pre912345.abcdef0", "https://releases.nixos.org/nixos/unstable/nixos-26.05pre912345.abcdef0"},
		{"nixpkgs-26.05pre912345.abcdef0", "nixpkgs-26.05pre912345.abcdef0", "https://releases.nixos.org/nixpkgs/nixpkgs-26.05pre912345.abcdef0"},
		{"fixed=nixos-25.11.1234.abcdef", "fixed", "https://releases.nixos.org/nixos/25.11/nixos-25.11.1234.abcdef"},
		{"stable=nixos-25.11", "stable", "https://channels.nixos.org/nixos-25.11"},
		{"https://host/x/y", "y", "https://host/x/y"},
		{"https://host/x/y//", "y", "https://host/x/y"},
		{"http://127.0.0.1:8080/y?netrc-file=/a=b", "y", "http://127.0.0.1:8080/y?netrc-file=/a=b"},
		{"mine=https://host", "mine", "https://host"},
		{"mine=https://u:p@host/x?region=a", "mine", "https://u:p@host/x?region=a"},
		{"s3://bucket/y?endpoint=host", "y", "s3://bucket/y?endpoint=host"},
		{"/srv/nixpkgs", "nixpkgs", "/srv/nixpkgs"},
		{"/srv/x/../nixpkgs/", "nixpkgs", "/srv/nixpkgs"},
		{"mine=/srv/a b", "mine", "/srv/a b"},
		{"mine=/", "mine", "/"},
		{"file:///srv/a%2Db", "a-b", "/srv/a-b"},
		{"/srv/y/store-paths.xz", "y", "/srv/y/store-paths.xz"},
		{"file:///srv/y/store-paths.xz", "y", "/srv/y/store-paths.xz"},
		{"https://host/y/store-paths.xz?ca-file=/c", "y", "https://host/y/store-paths.xz?ca-file=/c"},
		{"mine=https://host/store-paths.xz", "mine", "https://host/store-paths.xz"},
		{"_" + strings.Repeat("a", 127) + "=/x", "_" + strings.Repeat("a", 127), "/x"},
	} {
		name, location, err := ParseName(tt.arg)
		if name != tt.name || location != tt.location || err != nil {
			t.Errorf("ParseName(%q) = %q, %q, %v; want %q, %q", tt.arg, name, location, err, tt.name, tt.location)
		}
	}
}

func TestParseNameRefuses(t *testing.T) {
	hash := strings.Repeat("a", 32)
	for arg, want := range map[string]string{
		"":                              "no name",
		"latest":                        "another meaning",
		"latest=/x":                     "another meaning",
		hash:                            "hash of a store path",
		hash + "=https://host/x":        "hash of a store path",
		"https://host/" + hash:          "hash of a store path",
		strings.Repeat("a", 129):        "longer than 128",
		"-x=/y":                         "no legal tag",
		".=/y":                          "no legal tag",
		"a b=/y":                        "no legal tag",
		"=/y":                           "no name",
		"./x":                           "an absolute path",
		"../x":                          "an absolute path",
		"x/y":                           "an absolute path",
		"mine=x/y":                      "an absolute path",
		"/":                             "no name",
		"/srv/a b":                      "NAME=",
		"https://host":                  "NAME=",
		"https://host/store-paths.xz":   "NAME=",
		"https:///x":                    "no host",
		"https://host/x#y":              "with a #",
		"ftp://host/x":                  "only https",
		"file://host/x":                 "file:///dir",
		"file:///x?y=z":                 "file:///dir",
		"https://ho st/x":               "not a URL",
		"/a\x00b":                       "control character",
		"/" + strings.Repeat("a", 5000): "longer than 4096",
	} {
		_, _, err := ParseName(arg)
		if !errors.Is(err, fs.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseName(%.50q): %v; want an error with %q", arg, err, want)
		}
	}
}

// No message has what could be a password.
func TestRedact(t *testing.T) {
	for in, want := range map[string]string{
		"https://user:secret@host/x?token=secret": "https://host/x",
		"https://host/x@y?token=secret":           "https://…",
		"https://user:sec/ret@host/x":             "https://…",
		"https://user:sec?ret@host/x":             "https://…",
		"/dir?x":                                  "/dir?x",
		"https:/user:secret@host/x":               "…",
		"user:secret@host":                        "…",
		"nope?token=secret":                       "nope",
		"https://host/x#secret":                   "https://host/x",
	} {
		if got := redact(in); got != want {
			t.Errorf("redact(%q) = %q, want %q", in, got, want)
		}
	}
	if _, _, err := ParseName("https://user:secret@host?token=secret"); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("the error has the password: %v", err)
	}
}

func TestFolder(t *testing.T) {
	for in, want := range map[string]string{
		"https://host/x":                      "https://host/x",
		"https://host/x?a=b":                  "https://host/x?a=b",
		"https://host/x/store-paths.xz?a=b":   "https://host/x?a=b",
		"/dir/store-paths.xz":                 "/dir",
		"/store-paths.xz":                     "/",
		"/what?/store-paths.xz":               "/what?",
		"https://host?x=/store-paths.xz":      "https://host?x=/store-paths.xz",
		"https://host/x/my-store-paths.xz?a=": "https://host/x/my-store-paths.xz?a=",
	} {
		if got := Folder(in); got != want {
			t.Errorf("Folder(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzParseName(f *testing.F) {
	for _, s := range []string{"nixos-unstable", "a=https://u:p@host/x?y=z", "/dir/y", "file:///d%41", "s3://b/store-paths.xz", "=", "://"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, arg string) {
		name, location, err := ParseName(arg)
		if err != nil {
			if !errors.Is(err, fs.ErrInvalid) || name != "" || location != "" {
				t.Fatalf("%q, %q, %v", name, location, err)
			}
			return
		}
		if err := checkName(name); err != nil {
			t.Fatal(err)
		}
		// What it returns it reads again, as the same.
		again, where, err := ParseName(name + "=" + location)
		if again != name || where != location || err != nil {
			t.Fatalf("%q, %q becomes %q, %q, %v", name, location, again, where, err)
		}
	})
}
