package oci

import (
	"errors"
	"io/fs"
	"regexp"
	"strings"
	"testing"
)

const sha256 = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// The expressions of the specification, as it writes them.
var (
	specName = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)
	specTag  = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)
)

// dockersReference is ReferenceRegexp of github.com/distribution/reference 0.6.
var dockersReference = regexp.MustCompile(`^((?:(?:(?:(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])(?:\.(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9]))*|\[(?:[a-fA-F0-9:]+)\])(?::[0-9]+)?/)?[a-z0-9]+(?:(?:[._]|__|[-]+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|[-]+)[a-z0-9]+)*)*))` +
	`(?::([\w][\w.-]{0,127}))?(?:@([A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*[:][[:xdigit:]]{32,}))?$`)

// Every string of up to five of the characters that matter.
func TestGrammarIsTheSpecifications(t *testing.T) {
	const letters = "a0._-A/:"
	var try func(s string)
	try = func(s string) {
		if got, want := IsRepository(s), specName.MatchString(s); got != want {
			t.Errorf("repository %q: got %t, want %t", s, got, want)
		}
		if got, want := IsComponent(s), specName.MatchString(s) && !strings.Contains(s, "/"); got != want {
			t.Errorf("component %q: got %t, want %t", s, got, want)
		}
		if got, want := IsName(s), dockersReference.MatchString(s) && dockersReference.FindStringSubmatch(s)[1] == s; got != want {
			t.Errorf("name %q: got %t, want %t", s, got, want)
		}
		if got, want := IsImageName(s), specName.MatchString(strings.ToLower(s)); got != want {
			t.Errorf("image name %q: got %t, want %t", s, got, want)
		}
		if got, want := IsTag(s), specTag.MatchString(s); got != want {
			t.Errorf("tag %q: got %t, want %t", s, got, want)
		}
		if len(s) < 5 {
			for i := range len(letters) {
				try(s + letters[i:i+1])
			}
		}
	}
	try("")
}

func TestBounds(t *testing.T) {
	long := strings.Repeat("a", MaxName)
	for name, is := range map[string]func(string) bool{
		"component": IsComponent, "repository": IsRepository, "host": IsHost, "name": IsName, "image name": IsImageName, "ref name": IsRefName,
	} {
		if !is(long) || is(long+"a") || is("") || is("a\n") || is("\na") {
			t.Errorf("%s: bound is not %d", name, MaxName)
		}
	}
	if tag := strings.Repeat("t", MaxTag); !IsTag(tag) || IsTag(tag+"t") || IsTag("") || IsTag("t\n") {
		t.Error("tag")
	}
}

func TestIsHost(t *testing.T) {
	for s, want := range map[string]bool{
		"docker.io": true, "localhost": true, "LAB": true, "a-b.c": true, "h:1": true, "127.0.0.1:65535": true, "[::1]": true, "[::1]:5000": true, "my-lab:5000": true,
		"a_b": false, "a..b": false, ".a": false, "a.": false, "-a": false, "a-": false, "h:": false, "h:x": false, "h:123456": false,
		"::1": false, "[::1": false, "[]": false, "[::ffff:1.2.3.4]": false, "[fe80::1%eth0]": false, "u@h": false, "http://h": false, "h/": false, "ü": false,
	} {
		if got := IsHost(s); got != want {
			t.Errorf("%q: got %t", s, got)
		}
	}
}

func TestIsDigest(t *testing.T) {
	hex := strings.TrimPrefix(sha256, "sha256:")
	for s, want := range map[string]bool{
		sha256: true, "sha512:" + hex + hex: true, "sha512:" + hex: false, "sha256:": false, "md5:" + hex[:32]: false, hex: false, "": false,
		sha256 + "0": false, strings.ToUpper(sha256): false, "sha256:" + strings.ToUpper(hex): false, sha256 + "\n": false,
	} {
		if got := IsDigest(s); got != want {
			t.Errorf("%q: got %t", s, got)
		}
	}
}

func TestIsRefName(t *testing.T) {
	for s, want := range map[string]bool{
		"1.0": true, "app:1.0": true, "h:5000/App:v1": true, "a@sha256:0": true, "a+b": true, "a--b": true,
		"-": false, "a---b": false, "a b": false, "a/": false, "a_-b": false,
	} {
		if got := IsRefName(s); got != want {
			t.Errorf("%q: got %t", s, got)
		}
	}
}

func TestSplitTag(t *testing.T) {
	for s, want := range map[string][2]string{
		"app": {"app", ""}, "app:1": {"app", "1"}, "h:5000/app": {"h:5000/app", ""}, "h:5000/app:1": {"h:5000/app", "1"}, "app:": {"app", ""}, ":1": {"", "1"}, "A b:c+d": {"A b", "c+d"},
	} {
		name, tag, ok := SplitTag(s)
		if [2]string{name, tag} != want || ok != (name != s) {
			t.Errorf("%q: %q, %q, %t", s, name, tag, ok)
		}
	}
}

// A first component in upper case is a host, as in distribution/reference 0.6.
func TestSplitHost(t *testing.T) {
	for s, want := range map[string][2]string{
		"nginx": {"docker.io", "library/nginx"}, "a/b": {"docker.io", "a/b"}, "docker.io/x": {"docker.io", "library/x"}, "index.docker.io/x": {"docker.io", "library/x"},
		"localhost/x": {"localhost", "x"}, "h:1/x": {"h:1", "x"}, "h.test/a/x": {"h.test", "a/x"}, "LAB/x": {"LAB", "x"}, "[::1]/x": {"[::1]", "x"},
		"h.test/" + strings.TrimPrefix(sha256, "sha256:"): {"h.test", strings.TrimPrefix(sha256, "sha256:")},
	} {
		if host, repository, err := SplitHost(s); err != nil || [2]string{host, repository} != want {
			t.Errorf("%q: %q, %q, %v", s, host, repository, err)
		}
	}
	for _, s := range []string{"", "/x", "x/", "a//b", "A", "h.test/A", strings.TrimPrefix(sha256, "sha256:"), "a..b/x", "h.test/" + strings.Repeat("a", 249), strings.Repeat("a", 238)} {
		if _, _, err := SplitHost(s); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%q: %v", s, err)
		}
	}
}

// What is a reference here is one for docker, and its full form is the same reference.
func FuzzReference(f *testing.F) {
	for _, s := range []string{"nginx", "a.b:5/c/d:e@" + sha256, "[::1]:5000/x", "localhost/x", "LAB/x:T", "x@", "x:"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ParseReference(s)
		if err != nil {
			if !errors.Is(err, fs.ErrInvalid) || len(err.Error()) > 2000 {
				t.Fatalf("%q: %v", s, err)
			}
			return
		}
		for _, form := range []string{s, r.String()} {
			m := dockersReference.FindStringSubmatch(form)
			if m == nil || m[3] != r.Digest || m[2] != r.Tag && !(form == s && m[2] == "" && r.Tag == Latest) {
				t.Fatalf("%q of %q: docker's rule finds %q", form, s, m)
			}
		}
		if again, err := ParseReference(r.String()); err != nil || again.String() != r.String() {
			t.Fatalf("%q is %s, which is %s, %v", s, r, again, err)
		}
		if !IsHost(r.Host) || !IsRepository(r.Repository) || !IsName(r.Familiar) || r.Tag != "" && !IsTag(r.Tag) {
			t.Fatalf("%q: %+v", s, r)
		}
	})
}

func TestIsLoopback(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost": true, "localhost:5000": true, "LOCALHOST:5000": true, "127.0.0.1": true, "127.0.0.1:5000": true, "127.1.2.3:1": true,
		"[::1]": true, "[::1]:5000": true, "::1": true,
		"": false, "docker.io": false, "localhost.example:5000": false, "10.0.0.1:5000": false, "0.0.0.0": false, "[::2]:5000": false, "127.0.0.1.example": false,
	} {
		if got := IsLoopback(host); got != want {
			t.Errorf("%s: %t", host, got)
		}
	}
}
