package conformance_test

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// The media types a client may take, as Docker's and OCI's specifications spell them.
const (
	ociIndex       = "application/vnd.oci.image.index.v1+json"
	ociManifest    = "application/vnd.oci.image.manifest.v1+json"
	dockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
	dockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
)

// accepts are the families a client asks for by their first word in a snapshot.
var accepts = map[string][]string{
	"oci":    {ociIndex, ociManifest},
	"docker": {dockerList, dockerManifest},
}

// descriptor is one child of a document.
type descriptor struct {
	MediaType string `json:"mediaType"`
	Digest    string `json:"digest"`
	Size      int64  `json:"size"`
	Platform  struct {
		Architecture string `json:"architecture"`
	} `json:"platform"`
}

// document is a manifest or an index, as far as these tests look into it.
type document struct {
	MediaType   string            `json:"mediaType"`
	Manifests   []descriptor      `json:"manifests"`
	Config      descriptor        `json:"config"`
	Layers      []descriptor      `json:"layers"`
	Annotations map[string]string `json:"annotations"`

	Digest string `json:"-"` // of its bytes, computed here
}

// blobs are the digests a manifest is made of.
func (d document) blobs() []descriptor {
	if d.Config.Digest == "" {
		return nil
	}
	return append([]descriptor{d.Config}, d.Layers...)
}

// get asks for a path; the caller closes the body.
func (s *server) get(t *testing.T, path string, accept ...string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range accept {
		req.Header.Add("Accept", a)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

// status asks for a path, reads the answer to its end and returns its status.
func (s *server) status(t *testing.T, path string, accept ...string) int {
	t.Helper()
	resp := s.get(t, path, accept...)
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Fatalf("GET %s: %v", path, err)
	}
	return resp.StatusCode
}

// json asks for a path that must be there and reads it into v.
func (s *server) json(t *testing.T, path string, v any) {
	t.Helper()
	resp := s.get(t, path)
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: %s", path, resp.Status)
	}
	if err := json.NewDecoder(resp.Body).Decode(v); err != nil {
		t.Fatalf("GET %s: %v", path, err)
	}
}

// manifest fetches a document by tag or digest and holds its bytes against every digest there is for them.
func (s *server) manifest(t *testing.T, repo, ref string, accept ...string) document {
	t.Helper()
	path := "/v2/" + repo + "/manifests/" + ref
	resp := s.get(t, path, accept...)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: %s, %v: %.500s", path, resp.Status, err, body)
	}
	d := document{Digest: fmt.Sprintf("sha256:%x", sha256.Sum256(body))}
	if err := json.Unmarshal(body, &d); err != nil {
		t.Fatalf("GET %s: %v", path, err)
	}
	if got := resp.Header.Get("Docker-Content-Digest"); got != d.Digest {
		t.Errorf("GET %s: Docker-Content-Digest %q, the body has %s", path, got, d.Digest)
	}
	if strings.HasPrefix(ref, "sha256:") && ref != d.Digest {
		t.Errorf("GET %s: the body has %s", path, d.Digest)
	}
	if got := resp.Header.Get("Content-Type"); got != d.MediaType {
		t.Errorf("GET %s: Content-Type %q, mediaType %q", path, got, d.MediaType)
	}
	return d
}

// blob fetches a blob and holds its bytes against its digest and size.
func (s *server) blob(t *testing.T, repo string, want descriptor) {
	t.Helper()
	path := "/v2/" + repo + "/blobs/" + want.Digest
	resp := s.get(t, path)
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("GET %s: %s", path, resp.Status)
		return
	}
	checkBlob(t, path, resp.Body, want)
}

func checkBlob(t *testing.T, path string, body io.Reader, want descriptor) {
	t.Helper()
	h := sha256.New()
	n, err := io.Copy(h, body)
	if err != nil || n != want.Size {
		t.Errorf("GET %s: %d bytes, %v; want %d", path, n, err, want.Size)
	}
	if got := fmt.Sprintf("sha256:%x", h.Sum(nil)); got != want.Digest {
		t.Errorf("GET %s: the body has %s", path, got)
	}
}

// image fetches what ref stands for with all its children and blobs, and returns its manifests: the one of ref first.
func (s *server) image(t *testing.T, repo, ref string, accept ...string) []document {
	t.Helper()
	top := s.manifest(t, repo, ref, accept...)
	all := []document{top}
	for _, child := range top.Manifests {
		all = append(all, s.manifest(t, repo, child.Digest, accept...))
	}
	for _, d := range all {
		for _, b := range d.blobs() {
			s.blob(t, repo, b)
		}
	}
	return all
}

// ask sends a request whose answer nobody waits for.
func ask(url string) {
	resp, err := http.Get(url)
	if err == nil {
		resp.Body.Close()
	}
}
