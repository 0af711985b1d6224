package registry

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// A pull as docker does it: HEAD by tag, GET by digest, then the blobs, one of which is resumed half way. What
// arrives has the digests that were promised.
func TestPull(t *testing.T) {
	s := newShelf(t)
	srv := httptest.NewServer(&Handler{Source: s, Lister: s})
	defer srv.Close()
	head, _ := fetch(t, srv, "HEAD", "/v2/hello/manifests/latest")
	digest := head.Header.Get("Docker-Content-Digest")
	get, manifest := fetch(t, srv, "GET", "/v2/hello/manifests/"+digest)
	if d := digestOf(t, []byte(manifest)); d.String() != digest || get.Header.Get("Content-Type") != head.Header.Get("Content-Type") {
		t.Fatalf("manifest has digest %s, want %s", d, digest)
	}
	var doc struct{ Layers []v1.Descriptor }
	if err := json.Unmarshal([]byte(manifest), &doc); err != nil || len(doc.Layers) != len(s.blobs) {
		t.Fatalf("manifest %s: %v", manifest, err)
	}
	for _, l := range doc.Layers {
		url := "/v2/hello/blobs/" + l.Digest.String()
		_, body := fetch(t, srv, "GET", url)
		if l.Size > 10 {
			body = body[:5] + resume(t, srv, url)
		}
		if d := digestOf(t, []byte(body)); d != l.Digest || int64(len(body)) != l.Size {
			t.Errorf("blob of %d bytes has digest %s, want %d bytes and %s", len(body), d, l.Size, l.Digest)
		}
	}
}

// resume fetches from the sixth byte on, if the blob is still the one with this digest.
func resume(t *testing.T, srv *httptest.Server, path string) string {
	t.Helper()
	r, err := http.NewRequest("GET", srv.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Range", "bytes=5-")
	r.Header.Set("If-Range", `"`+path[len("/v2/hello/blobs/"):]+`"`)
	res, err := srv.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusPartialContent {
		t.Errorf("resume: %d, %v", res.StatusCode, err)
	}
	return string(body)
}
