package registry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/nixreg/nixreg/internal/cases"
)

// A witness is a backend that answers nothing and says what it was asked.
type witness struct {
	name string
	saw  *[]string
}

func (w witness) note(what, repository string) error {
	*w.saw = append(*w.saw, w.name+" "+what+" "+repository)
	return fmt.Errorf("%s: %w", repository, fs.ErrNotExist)
}

func (w witness) Manifest(_ context.Context, r Request) (*v1.Descriptor, error) {
	return nil, w.note("manifest", r.Repository)
}

func (w witness) Blob(_ context.Context, r BlobRequest) (Blob, error) {
	return nil, w.note("blob", r.Repository)
}

func (w witness) Tags(_ context.Context, repository string) ([]string, error) {
	return []string{"a", "b"}, skipNotExist(w.note("tags", repository))
}

func (w witness) Repositories(context.Context) ([]string, error) {
	return nil, skipNotExist(w.note("catalog", ""))
}

func (w witness) Referrers(_ context.Context, repository string, _ v1.Hash) ([]v1.Descriptor, error) {
	return nil, w.note("referrers", repository)
}

func skipNotExist(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// mirroring is a handler of Nix images and of two mirrors, which notes who is asked for what.
func mirroring() (*Handler, *[]string) {
	saw := new([]string)
	nix, hub, lab := witness{"nix", saw}, witness{"hub", saw}, witness{"lab", saw}
	return &Handler{
		Source: nix, Lister: nix, Referrers: nix, Hosts: []string{"nix.example"},
		Mirrors: []Mirror{
			{Name: "docker.io", Hosts: []string{"docker.io"}, Source: hub, Lister: hub, Referrers: hub},
			{Name: "lab", Hosts: []string{"lab", "127.0.0.1:5001"}, Source: lab},
		},
	}, saw
}

// A mirror is reached by ns as containerd sends it, and by its name as the first component; all else is the source's.
func TestMirrors(t *testing.T) {
	d := "sha256:" + hex64
	for path, want := range map[string]string{
		"/v2/library/nginx/manifests/latest?ns=docker.io":                         "hub manifest library/nginx",
		"/v2/library/nginx/blobs/" + d + "?ns=docker.io":                          "hub blob library/nginx",
		"/v2/library/nginx/tags/list?ns=docker.io":                                "hub tags library/nginx",
		"/v2/library/nginx/referrers/" + d + "?ns=docker.io":                      "hub referrers library/nginx",
		"/v2/_catalog?ns=docker.io":                                               "hub catalog ",
		"/v2/docker.io/library/nginx/manifests/latest":                            "hub manifest library/nginx",
		"/v2/docker.io/library/nginx/blobs/" + d:                                  "hub blob library/nginx",
		"/v2/docker.io/library/nginx/tags/list":                                   "hub tags library/nginx",
		"/v2/docker.io/library/nginx/referrers/" + d:                              "hub referrers library/nginx",
		"/v2/lab/a/manifests/1":                                                   "lab manifest a",
		"/v2/a/manifests/1?ns=lab":                                                "lab manifest a",
		"/v2/a/manifests/1?ns=Docker.IO":                                          "hub manifest a",
		"/v2/a/manifests/1?ns=127.0.0.1:5001":                                     "lab manifest a",
		"/v2/docker.io/a/manifests/1?ns=lab":                                      "lab manifest docker.io/a",
		"/v2/hello/manifests/latest":                                              "nix manifest hello",
		"/v2/hello/blobs/" + d:                                                    "nix blob hello",
		"/v2/hello/manifests/latest?ns=nix.example":                               "nix manifest hello",
		"/v2/docker.io.evil/a/manifests/1":                                        "nix manifest docker.io.evil/a",
		"/v2/a/docker.io/manifests/1":                                             "nix manifest a/docker.io",
		"/v2/_catalog":                                                            "nix catalog ",
		"/v2/docker.io/manifests/1":                                               "", // no image of it
		"/v2/lab/tags/list":                                                       "",
		"/v2/lab/a/tags/list":                                                     "", // it lists none
		"/v2/library/nginx/manifests/latest?ns=quay.io":                           "",
		"/v2/library/nginx/manifests/latest?ns=127.0.0.1:5002":                    "",
		"/v2/library/nginx/manifests/latest?ns=127.0.0.1:5001&ns=127.0.0.1:50022": "lab manifest library/nginx",
	} {
		h, saw := mirroring()
		res, body := ask(h, "GET", path, nil)
		if got := strings.Join(*saw, ", "); got != want {
			t.Errorf("GET %s: %q was asked, want %q", path, got, want)
		}
		if want == "" && res.StatusCode != http.StatusNotFound {
			t.Errorf("GET %s: %d %s, want 404", path, res.StatusCode, body)
		}
	}
}

// The answer about a mirrored repository has the name that the client used.
func TestMirroredTagsHaveTheirName(t *testing.T) {
	h, _ := mirroring()
	res, body := ask(h, "GET", "/v2/docker.io/library/nginx/tags/list?n=1", nil)
	if want := `{"name":"docker.io/library/nginx","tags":["a"]}` + "\n"; body != want {
		t.Errorf("got %s, want %s", body, want)
	}
	if link := res.Header.Get("Link"); link != `</v2/docker.io/library/nginx/tags/list?last=a&n=1>; rel="next"` {
		t.Errorf("next page is %s", link)
	}
}

// The answer of another server is passed on: its status, its Retry-After, and what is for everybody of the text.
func TestStatusError(t *testing.T) {
	for _, c := range []struct {
		err   StatusError
		code  string
		retry string
	}{
		{StatusError{Status: 429, RetryAfter: 90*time.Second + 1}, "TOOMANYREQUESTS", "91"},
		{StatusError{Status: 429}, "TOOMANYREQUESTS", "5"},
		{StatusError{Status: 500}, "UNAVAILABLE", "5"},
		{StatusError{Status: 502}, "UNAVAILABLE", "5"},
		{StatusError{Status: 503, RetryAfter: time.Minute}, "UNAVAILABLE", "60"},
		{StatusError{Status: 504}, "UNAVAILABLE", "5"},
		{StatusError{Status: 403}, "DENIED", ""},
		{StatusError{Status: 502, Text: "docker.io does not answer"}, "UNAVAILABLE", "5"},
	} {
		for _, inner := range []error{errors.New("dial 10.0.0.1"), public{errors.New("dial 10.0.0.1"), "docker.io: too much"}} {
			c.err.Err = fmt.Errorf("ask: %w", inner)
			wrapped := fmt.Errorf("tag: %w", &c.err)
			h := &Handler{Source: fake{manifest: func(context.Context, Request) (*v1.Descriptor, error) { return nil, wrapped }}}
			res, body := ask(h, "GET", "/v2/a/manifests/x", nil)
			e := errorsOf(t, res, body)
			want := cmp.Or(c.err.Text, publicText(inner), errorTable[c.err.code()].message)
			if res.StatusCode != c.err.Status || e.Code != c.code || e.Message != want {
				t.Errorf("%d: got %d %s, want %s", c.err.Status, res.StatusCode, body, want)
			}
			if got := res.Header.Get("Retry-After"); got != c.retry {
				t.Errorf("%d: Retry-After %q, want %q", c.err.Status, got, c.retry)
			}
		}
	}
}

// TestCaseR3NameAndNamespace: a containerd with override_path names a mirror twice, in the path and by ns.
func TestCaseR3NameAndNamespace(t *testing.T) {
	cases.Open(t, "R3")
	d := "sha256:" + hex64
	for path, want := range map[string]string{
		"/v2/docker.io/library/nginx/manifests/latest?ns=docker.io":    "hub manifest library/nginx",
		"/v2/docker.io/library/nginx/manifests/" + d + "?ns=docker.io": "hub manifest library/nginx",
		"/v2/docker.io/library/nginx/manifests/latest?ns=Docker.IO":    "hub manifest library/nginx",
		"/v2/docker.io/library/nginx/blobs/" + d + "?ns=docker.io":     "hub blob library/nginx",
		"/v2/docker.io/library/nginx/tags/list?ns=docker.io":           "hub tags library/nginx",
		"/v2/docker.io/library/nginx/referrers/" + d + "?ns=docker.io": "hub referrers library/nginx",
		"/v2/lab/a/manifests/1?ns=127.0.0.1:5001":                      "lab manifest a",
		"/v2/lab/lab/manifests/1?ns=lab":                               "lab manifest lab",
		"/v2/lab/docker.io/a/manifests/1?ns=lab":                       "lab manifest docker.io/a",
		// As today: the name alone is an image's, and another mirror's name is one like any other.
		"/v2/lab/manifests/1?ns=lab":               "lab manifest lab",
		"/v2/docker.io/a/manifests/1?ns=lab":       "lab manifest docker.io/a",
		"/v2/a/lab/manifests/1?ns=lab":             "lab manifest a/lab",
		"/v2/library/nginx/tags/list?ns=docker.io": "hub tags library/nginx",
		"/v2/hello/manifests/1?ns=nix.example":     "nix manifest hello",
	} {
		h, saw := mirroring()
		ask(h, "GET", path, nil)
		if got := strings.Join(*saw, ", "); got != want {
			t.Errorf("GET %s: %q was asked, want %q", path, got, want)
		}
	}
}
