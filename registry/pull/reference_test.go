package pull

import (
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/nixreg/nixreg/internal/oci"
)

const someDigest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func TestParseReference(t *testing.T) {
	for in, want := range map[string]string{
		"docker://nginx":                                    "docker.io/library/nginx:latest",
		"docker://nginx:1.29":                               "docker.io/library/nginx:1.29",
		"docker://nginx@" + someDigest:                      "docker.io/library/nginx@" + someDigest,
		"docker://nginx:1.29@" + someDigest:                 "docker.io/library/nginx:1.29@" + someDigest,
		"docker://docker.io/nginx":                          "docker.io/library/nginx:latest",
		"docker://index.docker.io/nginx":                    "docker.io/library/nginx:latest",
		"docker://library/nginx":                            "docker.io/library/nginx:latest",
		"docker://grafana/loki:2":                           "docker.io/grafana/loki:2",
		"docker://quay.io/a/b_c__d/e-f---g.h":               "quay.io/a/b_c__d/e-f---g.h:latest",
		"docker://localhost/x":                              "localhost/x:latest",
		"docker://localhost:5000/x:T":                       "localhost:5000/x:T",
		"docker://127.0.0.1:5000/a/x":                       "127.0.0.1:5000/a/x:latest",
		"docker://[::1]:5000/x":                             "[::1]:5000/x:latest",
		"docker://EXAMPLE.com/x":                            "EXAMPLE.com/x:latest",
		"docker://x:" + strings.Repeat("a", 128):            "docker.io/library/x:" + strings.Repeat("a", 128),
		"docker://a.b/" + strings.Repeat("a", 251):          "a.b/" + strings.Repeat("a", 251) + ":latest",
		"docker://no-host/" + strings.Repeat("a/", 9) + "x": "docker.io/no-host/" + strings.Repeat("a/", 9) + "x:latest",
	} {
		r, err := ParseReference(in)
		if err != nil || r.String() != want {
			t.Errorf("%s: %s, %v; want %s", in, r, err, want)
		}
	}
}

func TestNoReference(t *testing.T) {
	for _, in := range []string{
		"", "nginx", "docker:nginx", "docker-archive:x", "docker://", "docker:///x", "docker://x/", "docker://x//y", "docker://X", "docker://a/X", "docker://x:",
		"docker://x:a b", "docker://x:-a", "docker://x@", "docker://x@sha256:", "docker://x@sha512:" + strings.Repeat("a", 128), "docker://x@" + strings.ToUpper(someDigest),
		"docker://x@" + someDigest + "0", "docker://x@" + someDigest + "@" + someDigest, "docker://../x", "docker://a..b/x", "docker://-a.b/x", "docker://a.b:/x", "docker://a.b:p/x",
		"docker://x:" + strings.Repeat("a", 129), "docker://a.b/" + strings.Repeat("a", 252), "docker://x._y", "docker://x___y", "docker://_x", "docker://x_",
		"docker://" + someDigest[len("sha256:"):], "docker://x\n", "docker://a.b/x\x00", "docker://x?a=b", "docker://user@host.test/x", "docker://ü/x", "docker://https://x",
	} {
		if r, err := ParseReference(in); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%q: %+v, %v", in, r, err)
		}
	}
}

func TestFinalTag(t *testing.T) {
	for in, want := range map[string]string{
		"docker://x": "latest", "docker://x:1": "1", "docker://x@" + someDigest: "latest", "docker://x:1@" + someDigest: "1",
	} {
		r, err := ParseReference(in)
		if err != nil || r.FinalTag() != want {
			t.Errorf("%s: %q, %v; want %q", in, r.FinalTag(), err, want)
		}
	}
}

func TestDigestDecides(t *testing.T) {
	r, err := ParseReference("docker://x:1@" + someDigest)
	if err != nil || r.tagOrDigest() != someDigest {
		t.Errorf("asks for %q, %v", r.tagOrDigest(), err)
	}
}

func FuzzParseReference(f *testing.F) {
	for _, s := range []string{"docker://nginx", "docker://a.b:5/c/d:e@" + someDigest, "docker://[::1]:5000/x", "docker://localhost/x"} {
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
		again, err := ParseReference(transport + r.String())
		if err != nil || again.String() != r.String() {
			t.Fatalf("%q is %s, which is %s, %v", s, r, again, err)
		}
		if strings.ContainsAny(r.String(), "\"\\$ \n\x00") { // it goes into Nix expressions and file names
			t.Fatalf("%q is %q", s, r)
		}
		if host, name, err := oci.SplitHost(r.Familiar); err != nil || host != r.Host || name != r.Repository {
			t.Fatalf("%q is %q, %v", r.Familiar, name, err)
		}
	})
}
