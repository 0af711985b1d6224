package server

import (
	"fmt"
	"strings"
	"testing"
)

func TestParseTagged(t *testing.T) {
	for in, want := range map[string]string{
		"hello":                          "hello latest",
		"hello:1.0":                      "hello 1.0",
		"git/hello:x":                    "git/hello x",
		"localhost/hello":                "hello latest",
		"localhost:5000/git/hello:1":     "git/hello 1",
		"[::1]:5000/hello":               "hello latest",
		"python3.11/git":                 "python3.11/git git latest",
		"registry.example.com:443/hello": "hello latest",
		"python3.11":                     "python3.11 latest",
	} {
		image, err := ParseTagged(in)
		if got := strings.Join(append(image.Repositories, image.Tag), " "); got != want || err != nil {
			t.Errorf("%q: got %q, %v, want %q", in, got, err, want)
		}
	}
	for _, in := range []string{"", ":x", "hello:", "hello@sha256:00", "localhost:5000/"} {
		if _, err := ParseTagged(in); err == nil {
			t.Errorf("%q is taken", in)
		}
	}
}

func TestParseImage(t *testing.T) {
	digest := "sha256:" + strings.Repeat("0", 64)
	for image, want := range map[string]string{
		"hello":                   "[hello] latest ",
		"hello:2":                 "[hello] 2 ",
		"hello@" + digest:         "[hello]  " + digest,
		"localhost:5000/a/b":      "[a/b] latest ",
		"python3.11/x@" + digest:  "[python3.11/x x]  " + digest,
		"localhost:5/a@" + digest: "[a]  " + digest,
	} {
		r, err := ParseImage(image)
		got := fmt.Sprintf("%v %s ", r.Repositories, r.Tag)
		if r.Digest.Hex != "" {
			got += r.Digest.String()
		}
		if err != nil || got != want {
			t.Errorf("%s: %s, %v; want %s", image, got, err, want)
		}
	}
	for _, image := range []string{"", "a@", "a@sha256:0", "a:1@" + digest, "@" + digest, "a@sha512:" + strings.Repeat("0", 128), "docker://a", "docker://h:5000/a@" + digest} {
		if r, err := ParseImage(image); err == nil {
			t.Errorf("%q: %v", image, r)
		}
	}
}
