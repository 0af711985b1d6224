package local_test

import (
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nixreg/nixreg/store/local"
)

func TestParseURL(t *testing.T) {
	for _, tt := range []struct {
		in, root string
		ok       bool
	}{
		{"local", "", true},
		{"local?", "", true},
		{"local?root=/x", "/x", true},
		{"local?root=/x/", "/x", true},
		{"local?root=/", "/", true},
		{"local?root=/a%20b+c", "/a b+c", true},
		{"local?root=/x&", "/x", true},
		{"local?root=x", "", false},
		{"local?root=", "", false},
		{"local?root", "", false},
		{"local?root=/x&root=/y", "", false},
		{"local?root=/%zz", "", false},
		{"local?root=/%00", "", false},
		{"local?Root=/x", "", false},
		{"local://", "", true},
		{"local:///x", "/x", true},
		{"local:///x?root=/y", "/x", false},
		{"local?read-only=true&require-sigs=false", "", true},
		{"local?root=/x&read-only=true", "/x", true},
		{"auto", "", true},
		{"daemon", "", true},
		{"unix://", "", true},
		{"unix:///run/socket?root=/x", "/x", true},
		{"/x", "/x", true},
		{"/x/?read-only=true", "/x", true},
		{"local?real=x", "", false},
		{"local?state=", "", false},
		{"local?real=/a&real=/b", "", false},
		{"local://x", "", false},
		{"Local", "", false},
		{"", "", false},
		{"https://cache.nixos.org", "", false},
	} {
		opts, err := local.ParseURL(tt.in)
		if err == nil && opts.Root != tt.root || (err == nil) != tt.ok || err != nil && !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("ParseURL(%q) = %q, %v", tt.in, opts.Root, err)
		}
		if err != nil && strings.Contains(err.Error(), "\n") {
			t.Errorf("ParseURL(%q): more than a line: %v", tt.in, err)
		}
	}
	opts, err := local.ParseURL("local?real=/a/store&state=/b%20c")
	if want := (local.Options{Real: "/a/store", State: "/b c"}); opts != want || err != nil {
		t.Errorf("%+v, %v", opts, err)
	}
	if _, err := local.ParseURL("local?sture=/x"); err == nil || !strings.Contains(err.Error(), "root, real and state are known") {
		t.Errorf("the error does not say what is known: %v", err)
	}
}

func FuzzParseURL(f *testing.F) {
	f.Add("local?root=/x%20y")
	f.Add("local?root=/x&real=/y")
	f.Fuzz(func(t *testing.T, s string) {
		opts, err := local.ParseURL(s)
		if err != nil && (opts != (local.Options{}) || !errors.Is(err, fs.ErrInvalid)) {
			t.Fatalf("%+v, %v", opts, err)
		}
		if opts.Root != "" && (!filepath.IsAbs(opts.Root) || strings.Contains(opts.Root, "\x00")) {
			t.Fatalf("root %q", opts.Root)
		}
	})
}
