package realise_test

import (
	"errors"
	"io/fs"
	"regexp"
	"strings"
	"testing"

	"github.com/nixreg/nixreg/store/realise"
)

func TestParseAttr(t *testing.T) {
	for _, good := range []string{"hello", "python3Packages.requests", "_1password", "a'", "a-b", strings.Repeat("a", 256), "a.b.c.d.e.f.g.h"} {
		if a, err := realise.ParseAttr(good); string(a) != good || err != nil {
			t.Errorf("ParseAttr(%.50q) = %q, %v", good, a, err)
		}
	}
	for _, bad := range []string{"", ".", "a.", ".a", "a..b", "-a", "--help", "a.-b", "1a", "'a", "a b", "a\n", "a#b", "a^out", "a/b", "a\"b",
		"$a", "${a}", "ä", "a\x00", "weird.na+me", strings.Repeat("a", 257), "a.b.c.d.e.f.g.h.i"} {
		if a, err := realise.ParseAttr(bad); a != "" || !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("ParseAttr(%.50q) = %q, %v; want fs.ErrInvalid", bad, a, err)
		}
	}
}

func FuzzParseAttr(f *testing.F) {
	for _, s := range []string{"hello", "python3Packages.requests", "-a", "a..b", "a.b'", "a^b"} {
		f.Add(s)
	}
	grammar := regexp.MustCompile(`\A[A-Za-z_][A-Za-z0-9_'-]*(\.[A-Za-z_][A-Za-z0-9_'-]*){0,7}\z`)
	f.Fuzz(func(t *testing.T, s string) {
		_, err := realise.ParseAttr(s)
		if want := len(s) <= 256 && grammar.MatchString(s); (err == nil) != want {
			t.Errorf("ParseAttr(%q): %v, want ok %v", s, err, want)
		}
	})
}

func TestSystem(t *testing.T) {
	for arch, want := range map[string]string{"amd64": "x86_64-linux", "arm64": "aarch64-linux", "386": "i686-linux", "wasm": "", "": ""} {
		if got := realise.System(arch); got != want {
			t.Errorf("System(%q) = %q, want %q", arch, got, want)
		}
	}
}

func TestRef(t *testing.T) {
	for installable, want := range map[string]string{
		"nixpkgs":                                "",
		"nixpkgs/nixos-25.05":                    "nixos-25.05",
		"flake:nixpkgs/nixos-25.05":              "nixos-25.05",
		"github:NixOS/nixpkgs":                   "",
		"github:NixOS/nixpkgs/nixos-25.05":       "nixos-25.05",
		"github:NixOS/nixpkgs/release/1":         "release/1",
		"github:NixOS/nixpkgs?ref=nixos-25.05":   "nixos-25.05",
		"git+https://host/repo?ref=main&rev=abc": "abc",
		"git+ssh://host/some/repo":               "",
		"path:/tmp/x/y":                          "",
		"/":                                      "",
	} {
		if got := open(t, realise.Options{Installable: installable}).Ref(); got != want {
			t.Errorf("Ref of %q = %q, want %q", installable, got, want)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		o    realise.Options
		kind error
		says string
	}{
		"nothing":   {realise.Options{}, fs.ErrInvalid, "either an installable or a file"},
		"both":      {realise.Options{Installable: "a", File: "b"}, fs.ErrInvalid, "either an installable or a file"},
		"option":    {realise.Options{Installable: "--help"}, fs.ErrInvalid, "not a flake reference"},
		"attribute": {realise.Options{Installable: "nixpkgs#hello"}, fs.ErrInvalid, "without #"},
		"two words": {realise.Options{Installable: "nixpkgs --impure"}, fs.ErrInvalid, "not a flake reference"},
		"no flake":  {realise.Options{Installable: "./absent"}, fs.ErrNotExist, "does not exist"},
		"no file":   {realise.Options{File: "absent.nix"}, fs.ErrNotExist, "does not exist"},
		"no nix":    {realise.Options{Installable: "nixpkgs", Nix: "/absent/nix"}, fs.ErrNotExist, "install Nix"},
		"bound":     {realise.Options{Installable: "nixpkgs", Jobs: -1}, fs.ErrInvalid, "negative"},
		"password":  {realise.Options{Installable: "git+https://me:secret@host/x#y"}, fs.ErrInvalid, "//host/x"},
	} {
		b, err := realise.New(c.o)
		if b != nil || !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v, want %v that says %q", name, err, c.kind, c.says)
		}
	}
}
