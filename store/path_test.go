package store_test

import (
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/nixreg/nixreg/store"
)

const hash = "0b3sg6sw6wyygb04vywr0x3xfpb733rr"

func TestParsePath(t *testing.T) {
	for _, tt := range []struct {
		in string
		ok bool
	}{
		{hash + "-link-1", true},
		{hash + "-a", true},
		{hash + "-+-._?=Az09", true},
		{hash + "-.hidden", true},
		{hash + "-...", true},
		{hash + "-" + strings.Repeat("n", 211), true},
		{hash + "-" + strings.Repeat("n", 212), false},
		{"", false},
		{hash, false},
		{hash + "-", false},
		{hash + "_a", false},
		{hash[:31] + "-ab", false},
		{hash[:31] + "e-a", false}, // e, o, u and t are not in the alphabet
		{strings.ToUpper(hash) + "-a", false},
		{hash + "-a/b", false},
		{hash + "-a b", false},
		{hash + "-a\x00", false},
		{hash + "-é", false},
		{hash + "-.", false},
		{hash + "-..", false},
		{hash + "-.-x", false},
		{hash + "-..-x", false},
		{"/nix/store/" + hash + "-a", false},
		{"../" + hash + "-a", false},
	} {
		p, err := store.ParsePath(tt.in)
		if tt.ok && (err != nil || string(p) != tt.in) {
			t.Errorf("ParsePath(%q) = %q, %v", tt.in, p, err)
		}
		if !tt.ok && (p != "" || !errors.Is(err, fs.ErrInvalid)) {
			t.Errorf("ParsePath(%q) = %q, %v; want fs.ErrInvalid", tt.in, p, err)
		}
	}
}

func TestParseAbs(t *testing.T) {
	for _, tt := range []struct{ in, path, rest string }{
		{"/nix/store/" + hash + "-a", hash + "-a", ""},
		{"/nix/store/" + hash + "-a/", hash + "-a", ""},
		{"/nix/store/" + hash + "-a/bin/x", hash + "-a", "bin/x"},
		{"/nix/store", "", ""},
		{"/nix/store/", "", ""},
		{"/gnu/store/" + hash + "-a", "", ""},
		{hash + "-a", "", ""},
		{"/nix/store//" + hash + "-a", "", ""},
	} {
		p, rest, err := store.ParseAbs(tt.in)
		if string(p) != tt.path || rest != tt.rest && err == nil || (err == nil) != (tt.path != "") {
			t.Errorf("ParseAbs(%q) = %q, %q, %v", tt.in, p, rest, err)
		}
		if err != nil && !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("ParseAbs(%q): %v; want fs.ErrInvalid", tt.in, err)
		}
	}
}

func TestPathParts(t *testing.T) {
	p, err := store.ParsePath(hash + "-link-1")
	if err != nil {
		t.Fatal(err)
	}
	if p.Hash() != hash || p.Name() != "link-1" || p.Abs() != "/nix/store/"+hash+"-link-1" {
		t.Errorf("%q, %q, %q", p.Hash(), p.Name(), p.Abs())
	}
}

func FuzzParsePath(f *testing.F) {
	f.Add(hash + "-link-1")
	f.Add("/nix/store/" + hash + "-a/b")
	f.Add(hash + "-..-")
	f.Fuzz(func(t *testing.T, s string) {
		p, err := store.ParsePath(s)
		if err != nil {
			if p != "" || !errors.Is(err, fs.ErrInvalid) {
				t.Fatalf("%q, %v", p, err)
			}
			return
		}
		if strings.ContainsAny(string(p), "/\x00") || p[0] == '.' || p.Hash()+"-"+p.Name() != s || !store.IsHash(p.Hash()) {
			t.Fatalf("accepted %q", s)
		}
		if q, rest, err := store.ParseAbs(p.Abs() + "/x/y"); q != p || rest != "x/y" || err != nil {
			t.Fatalf("ParseAbs: %q, %q, %v", q, rest, err)
		}
	})
}
