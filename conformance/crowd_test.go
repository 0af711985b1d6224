package conformance_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"
)

const (
	crowd        = 100       // clients at once
	crowdsMemory = 256 << 20 // bytes a server may need for all of them
)

// A hundred clients pull 416 MB each, at the same time and from the first request on: the image is made once, every
// byte is right, and memory does not grow with the clients.
func TestHundredPullsAtOnce(t *testing.T) {
	endToEnd(t)
	s := start(t, big(t))
	before := s.peakMemory(t)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: crowd}}
	defer client.CloseIdleConnections()

	together, ctx := errgroup.WithContext(t.Context())
	for range crowd {
		together.Go(func() error { return s.pullAll(ctx, client, "e-big") })
	}
	if err := together.Wait(); err != nil {
		t.Fatal(err)
	}
	if grown := s.peakMemory(t) - before; grown > crowdsMemory {
		t.Errorf("for %d clients the server needed %d MB more", crowd, grown>>20)
	} else {
		t.Logf("for %d clients the server needed %d MB more", crowd, grown>>20)
	}
	if n := strings.Count(s.log.String(), `"msg":"image made"`); n != 1 {
		t.Errorf("the image was made %d times", n)
	}
}

// pullAll fetches an image with all its blobs, and holds each digest against the bytes.
func (s *server) pullAll(ctx context.Context, client *http.Client, repo string) error {
	m, err := fetchManifest(ctx, client, s.URL+"/v2/"+repo+"/manifests/latest")
	if err != nil {
		return err
	}
	for _, b := range m.blobs() {
		if err := fetchBlob(ctx, client, s.URL+"/v2/"+repo+"/blobs/"+b.Digest, b); err != nil {
			return err
		}
	}
	return nil
}

// peakMemory is the most memory the server had at any time, in bytes.
func (s *server) peakMemory(t *testing.T) (n int64) {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "VmHWM:")
	if _, err := fmt.Sscanf(rest, "%d kB", &n); err != nil {
		t.Fatalf("VmHWM: %v", err)
	}
	return n << 10
}

func fetchManifest(ctx context.Context, client *http.Client, url string) (document, error) {
	var body strings.Builder
	digest, _, err := fetch(ctx, client, url, &body)
	if err != nil {
		return document{}, err
	}
	var d document
	if err := json.Unmarshal([]byte(body.String()), &d); err != nil {
		return document{}, fmt.Errorf("GET %s: %w", url, err)
	}
	d.Digest = digest
	return d, nil
}

func fetchBlob(ctx context.Context, client *http.Client, url string, want descriptor) error {
	digest, n, err := fetch(ctx, client, url, io.Discard)
	if err == nil && (digest != want.Digest || n != want.Size) {
		err = fmt.Errorf("GET %s: %d bytes of %s, want %d", url, n, digest, want.Size)
	}
	return err
}

// fetch writes what is at url to w and returns its digest and size.
func fetch(ctx context.Context, client *http.Client, url string, w io.Writer) (string, int64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", 0, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", 0, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", 0, fmt.Errorf("GET %s: %s", url, resp.Status)
	}
	h := sha256.New()
	n, err := io.CopyBuffer(io.MultiWriter(h, w), resp.Body, make([]byte, 256<<10)) // large: most of the test's time goes here
	if err != nil {
		return "", 0, fmt.Errorf("GET %s: after %d bytes: %w", url, n, err)
	}
	return fmt.Sprintf("sha256:%x", h.Sum(nil)), n, nil
}
