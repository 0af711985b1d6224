package registry

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/nixreg/nixreg/internal/oci"
)

func TestManifest(t *testing.T) {
	s := newShelf(t)
	h := &Handler{Source: s}
	oci, docker := s.manifests[0], s.manifests[1]
	for _, c := range []struct {
		name, ref string
		accept    []string
		want      *v1.Descriptor
	}{
		{"tag", "latest", nil, oci},
		{"tag, docker asked", "latest", []string{"text/html", string(types.DockerManifestSchema2)}, docker},
		{"tag, nothing acceptable", "latest", []string{"text/html"}, nil},
		{"digest", docker.Digest.String(), nil, docker},
		{"digest, Accept is ignored", docker.Digest.String(), []string{string(types.OCIManifestSchema1)}, docker},
	} {
		t.Run(c.name, func(t *testing.T) {
			res, body := ask(h, "GET", "/v2/hello/manifests/"+c.ref, http.Header{"Accept": c.accept})
			vary := ""
			if c.ref == "latest" {
				vary = "Accept"
			}
			if got := res.Header.Get("Vary"); got != vary {
				t.Errorf("Vary %q, want %q", got, vary)
			}
			if c.want == nil {
				if e := errorsOf(t, res, body); res.StatusCode != 404 || e.Code != "MANIFEST_UNKNOWN" {
					t.Errorf("got %d %s", res.StatusCode, body)
				}
				return
			}
			checkManifest(t, res, body, c.want, c.ref == "latest")
		})
	}
}

func checkManifest(t *testing.T, res *http.Response, body string, want *v1.Descriptor, byTag bool) {
	t.Helper()
	cache := "public, max-age=31536000, immutable"
	if byTag {
		cache = "no-cache"
	}
	for name, value := range map[string]string{
		"Content-Type":          string(want.MediaType),
		"Docker-Content-Digest": want.Digest.String(),
		"Etag":                  `"` + want.Digest.String() + `"`,
		"Cache-Control":         cache,
	} {
		if got := res.Header.Get(name); got != value {
			t.Errorf("%s: got %q, want %q", name, got, value)
		}
	}
	if res.StatusCode != 200 || body != string(want.Data) {
		t.Errorf("got %d %q", res.StatusCode, body)
	}
}

func TestManifestNotModified(t *testing.T) {
	s := newShelf(t)
	h := &Handler{Source: s}
	d := s.manifests[0].Digest.String()
	for _, ref := range []string{"latest", d} {
		for _, method := range []string{"GET", "HEAD"} {
			res, body := ask(h, method, "/v2/hello/manifests/"+ref, http.Header{"If-None-Match": {`"x", W/"` + d + `"`}})
			if res.StatusCode != 304 || body != "" || res.Header.Get("Etag") != `"`+d+`"` ||
				res.Header.Get("Docker-Content-Digest") != d || res.Header.Get("Cache-Control") == "" {
				t.Errorf("%s %s: got %d %v %q", method, ref, res.StatusCode, res.Header, body)
			}
			if got := res.Header.Get("Vary") == "Accept"; got != (ref == "latest") {
				t.Errorf("%s: Vary %q", ref, res.Header.Get("Vary"))
			}
		}
	}
	res, _ := ask(h, "GET", "/v2/hello/manifests/latest", http.Header{"If-None-Match": {`"other"`}})
	if res.StatusCode != 200 {
		t.Errorf("other tag: got %d", res.StatusCode)
	}
}

func TestRequest(t *testing.T) {
	var got Request
	h := &Handler{Hosts: []string{"ghcr.io:443"}, Source: fake{manifest: func(_ context.Context, r Request) (*v1.Descriptor, error) {
		got = r
		return &v1.Descriptor{MediaType: types.OCIManifestSchema1}, nil
	}}}
	ask(h, "GET", "/v2/a/b/manifests/x%2Ey?ns=ghcr.io:443", nil)
	if got.Repository != "a/b" || got.Tag != "x.y" || got.Digest != (v1.Hash{}) {
		t.Errorf("by tag: %+v", got)
	}
	ask(h, "HEAD", "/v2/a/manifests/"+sha256, nil)
	if got.Repository != "a" || got.Tag != "" || got.Digest != (v1.Hash{Algorithm: "sha256", Hex: hex64}) {
		t.Errorf("by digest: %+v", got)
	}
	for _, ns := range []string{"a/b", "a%00", "a%20b", "%C3%A4", strings.Repeat("a", 256)} {
		got = Request{}
		res, body := ask(h, "GET", "/v2/a/manifests/x?ns="+ns, nil)
		if e := errorsOf(t, res, body); e.Code != "NAME_INVALID" || got.Repository != "" {
			t.Errorf("ns %s: got %d %s", ns, res.StatusCode, body)
		}
	}
}

// What a source warns of stands in the answer, in the form that clients show, whatever is in the text.
func TestWarning(t *testing.T) {
	h := &Handler{Source: fake{manifest: func(_ context.Context, r Request) (*v1.Descriptor, error) {
		r.Warn("up\r\nX: \"stream\" is \\ däwn")
		r.Warn(strings.Repeat("a", 2*maxMessage))
		return &v1.Descriptor{MediaType: types.OCIManifestSchema1}, nil
	}}}
	res, _ := ask(h, "GET", "/v2/a/manifests/x", nil)
	want := []string{`299 - "up__X: _stream_ is _ d_wn"`, `299 - "` + strings.Repeat("a", maxMessage) + `_"`}
	if got := res.Header.Values("Warning"); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestManifestSize(t *testing.T) {
	data := make([]byte, oci.MaxManifest)
	h := &Handler{Source: fake{manifest: func(context.Context, Request) (*v1.Descriptor, error) {
		return &v1.Descriptor{MediaType: types.OCIManifestSchema1, Data: data}, nil
	}}}
	if res, body := ask(h, "GET", "/v2/a/manifests/x", nil); res.StatusCode != 200 || len(body) != oci.MaxManifest {
		t.Errorf("4 MiB: got %d, %d bytes", res.StatusCode, len(body))
	}
	data = make([]byte, oci.MaxManifest+1)
	if res, _ := ask(h, "GET", "/v2/a/manifests/x", nil); res.StatusCode != 500 {
		t.Errorf("more: got %d", res.StatusCode)
	}
}
