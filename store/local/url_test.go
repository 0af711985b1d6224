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
		{"local?real=/x", "", false},
		{"local?Root=/x", "", false},
		{"local://x", "", false},
		{"Local", "", false},
		{"", "", false},
		{"https://cache.nixos.org", "", false},
	} {
		opts, err := local.ParseURL(tt.in)
		if opts.Root != tt.root || (err == nil) != tt.ok || err != nil && !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("ParseURL(%q) = %q, %v", tt.in, opts.Root, err)
		}
		if err != nil && strings.Contains(err.Error(), "\n") {
			t.Errorf("ParseURL(%q): more than a line: %v", tt.in, err)
		}
	}
	if _, err := local.ParseURL("local?store=/x"); err == nil || !strings.Contains(err.Error(), "only root is known") {
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
