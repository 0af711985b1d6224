package conformance_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// pullCases is where the images to pull are, each with the hash of the archive that skopeo makes of it. nixreg's own
// packages are tested with them too, on machines that have no skopeo.
const pullCases = "../registry/dockerarchive/testdata"

// pullCase is one image in a registry, and how to pull it.
type pullCase struct {
	Digest    string // of the manifest that is pulled
	OS, Arch  string
	Variant   string `json:",omitempty"`
	FinalName string
	FinalTag  string
	Skopeo    string `json:",omitempty"` // the case whose archive this one's is, where skopeo refuses the image
	Archive   string // SRI hash of skopeo's archive
	Manifests []pullManifest
	Blobs     [][]byte
}

type pullManifest struct{ MediaType, Data string }

// repository is the name that every image to pull has in its registry.
const pullRepository = "test/image"

// ServeHTTP is a registry that has the image and nothing else.
func (c *pullCase) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/v2/" {
		return
	}
	kind, ref, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v2/"+pullRepository+"/"), "/")
	b, mediaType := c.find(kind, ref)
	if b == nil {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", mediaType)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b))
}

// registry serves the image.
func (c *pullCase) registry(t *testing.T) (host string) { return serving(t, c) }

func serving(t *testing.T, h http.Handler) (host string) {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

func (c *pullCase) find(kind, ref string) (b []byte, mediaType string) {
	if kind == "blobs" {
		i := slices.IndexFunc(c.Blobs, func(b []byte) bool { return sha256Of(b) == ref })
		if i < 0 {
			return nil, ""
		}
		return append([]byte{}, c.Blobs[i]...), "application/octet-stream"
	}
	for _, m := range c.Manifests {
		if ref == sha256Of([]byte(m.Data)) || ref == "latest" && c.Digest == sha256Of([]byte(m.Data)) {
			return []byte(m.Data), m.MediaType
		}
	}
	return nil, ""
}

func readFile(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func readPullCase(t *testing.T, name string) *pullCase {
	t.Helper()
	c := new(pullCase)
	if err := json.Unmarshal(readFile(t, filepath.Join(pullCases, name+".json")), c); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return c
}

func sri(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

func writePullCase(t *testing.T, name string, c *pullCase) {
	t.Helper()
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetIndent("", "\t")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(c); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(pullCases, name+".json"), b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestMakePullCases makes the images that are not there yet, with the hash that skopeo's archive of them has. It does
// nothing unless NIXREG_MAKE_PULL_CASES=1.
func TestMakePullCases(t *testing.T) {
	if os.Getenv("NIXREG_MAKE_PULL_CASES") != "1" {
		t.Skip("changes the source: run with NIXREG_MAKE_PULL_CASES=1")
	}
	for name, c := range makePullImages() {
		t.Run(name, func(t *testing.T) {
			if _, err := os.Stat(filepath.Join(pullCases, name+".json")); !errors.Is(err, fs.ErrNotExist) {
				t.Skip("is there")
			}
			from := c
			if c.Skopeo != "" {
				from = makePullImages()[c.Skopeo]
			}
			c.Archive = sri(from.skopeo(t))
			writePullCase(t, name, c)
		})
	}
}

func pullCaseNames(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(pullCases, "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no images to pull: %v", err)
	}
	for i, f := range files {
		files[i] = strings.TrimSuffix(filepath.Base(f), ".json")
	}
	return files
}
