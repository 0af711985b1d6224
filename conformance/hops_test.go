package conformance_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
)

// held is a server of an image that needs what a cache holds back until the test releases it. Its clients are asked to
// come again after a second.
type held struct {
	*server
	cache   *upstream
	want    target
	free    string // repository of an image that waits for nothing
	release func()
}

// hopsEnough is how often a client is asked to come again before the image is released: fewer than there are hops, and so
// many that a client which waits for one answer alone has left.
const hopsEnough = 3

// newHeld makes an image that nobody has pulled before, on no machine, and holds back a file about a path in it: the "nar",
// the "narinfo", or for a "blob" the archive again, after the manifest was pulled and all archives were evicted.
func newHeld(t *testing.T, what string, args ...string) held {
	t.Helper()
	f := newForge()
	all := f.chain("held"+strings.ToLower(rand.Text()), 3, 100_000)
	u := f.serve(t)
	repo := "store/" + hash(all[len(all)-1])
	first := start(t, f.options(u.URL))
	want := first.target(t, repo, "latest")
	first.stop(t)
	u.forget()
	o := f.options(u.URL).with("--wait", "1s", "--log-level", "debug").with(args...)
	if what == "blob" {
		o.Data = first.Data
		for _, file := range first.archiveFiles(t) {
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
		}
	}

	release := make(chan struct{})
	h := held{cache: u, want: want, free: "store/" + hash(all[0]), release: sync.OnceFunc(func() { close(release) })}
	t.Cleanup(h.release)
	part := f.url(all[1])
	if what == "narinfo" {
		part = hash(all[1]) + ".narinfo"
	}
	u.spoil(part, always, hold(release))
	h.server = start(t, o)
	h.want.host = h.Host
	return h
}

// hops is how often a client was asked to come again for what has a part in its path.
func (s *server) hops(part string) (n int) {
	for line := range strings.Lines(s.log.String()) {
		if strings.Contains(line, `"status":307`) && strings.Contains(line, part) {
			n++
		}
	}
	return n
}

// during lets a client do something, and releases the image after a few hops. Whoever ends before has failed.
func (h held) during(t *testing.T, do func() error) error {
	t.Helper()
	return h.server.during(t, h.want.repo, hopsEnough, h.release, do)
}

// during is for any server that says in its log what it answers.
func (s *server) during(t *testing.T, part string, enough int, release func(), do func() error) error {
	t.Helper()
	before, done := s.hops(part), make(chan error, 1)
	go func() { done <- do() }()
	hops := func() int { return s.hops(part) - before }
	eventually(t, "the client is asked to come again", func() bool { return hops() >= enough || len(done) > 0 })
	if hops() < enough {
		return fmt.Errorf("the client ended after %d hops: %w", hops(), <-done)
	}
	release()
	return <-done
}

// follow asks for a document as a Go client does, and returns what it came to in the end.
func follow(ctx context.Context, method, url string) (*http.Response, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return nil, nil, err
	}
	req.Header["Accept"] = []string{ociManifest, dockerManifest}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp, body, err
}

// A client that follows redirects waits for as long as it takes, by tag and by digest, and what is done is not done again
// for each hop. All other parameters stay.
func TestHops(t *testing.T) {
	for _, c := range []struct{ what, ref, method string }{
		{"nar", "tag", http.MethodHead}, {"nar", "digest", http.MethodGet}, {"narinfo", "tag", http.MethodGet}, {"narinfo", "digest", http.MethodHead},
	} {
		t.Run(strings.Join([]string{c.what, c.ref, c.method}, " "), func(t *testing.T) {
			t.Parallel()
			h := newHeld(t, c.what)
			path := "/v2/" + h.want.repo + "/manifests/latest"
			if c.ref == "digest" {
				path = "/v2/" + h.want.repo + "/manifests/" + h.want.top
			}
			var resp *http.Response
			var body []byte
			err := h.during(t, func() (err error) {
				resp, body, err = follow(t.Context(), c.method, h.URL+path+"?x=%2F+1&nixreg_hop=9")
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			q := resp.Request.URL.Query()
			if resp.StatusCode != http.StatusOK || resp.Header.Get("Docker-Content-Digest") != h.want.top || q.Get("x") != "/ 1" || len(q["nixreg_hop"]) != 1 {
				t.Errorf("%s from %s", resp.Status, resp.Request.URL)
			}
			if c.method == http.MethodGet && textDigest(string(body)) != h.want.top {
				t.Errorf("%d bytes of another document", len(body))
			}
			h.cache.once(t)
		})
	}
}

// A layer whose archive was evicted is fetched again before its first byte, and its clients hop meanwhile; so is a part of it.
func TestHopsOfABlob(t *testing.T) {
	for _, span := range []string{"", "bytes=0-99"} {
		t.Run(span, func(t *testing.T) {
			t.Parallel()
			h := newHeld(t, "blob")
			layer := h.manifest(t, h.want.repo, h.want.manifest).Layers[1]
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, h.URL+"/v2/"+h.want.repo+"/blobs/"+layer.Digest+"?ns=", nil)
			if err != nil {
				t.Fatal(err)
			}
			if span != "" {
				req.Header.Set("Range", span)
			}
			err = h.during(t, func() error {
				resp, err := http.DefaultClient.Do(req)
				if err != nil {
					return err
				}
				defer resp.Body.Close()
				body, err := io.ReadAll(resp.Body)
				switch {
				case err != nil:
					return err
				case span != "" && (resp.StatusCode != http.StatusPartialContent || len(body) != 100):
					return fmt.Errorf("%s, %d bytes", resp.Status, len(body))
				case span == "":
					return same("the layer's digest", textDigest(string(body)), layer.Digest)
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
			for _, a := range h.cache.requests("GET /nar/") {
				if n := h.cache.count(a.line); n != 1 {
					t.Errorf("the cache was asked %d times: %s", n, a.line)
				}
			}
		})
	}
}

// After the last hop the answer is 503, which says how far it is and when to come again. The work goes on, and the next
// try finds what is done.
func TestHopsEnd(t *testing.T) {
	t.Parallel()
	h := newHeld(t, "nar")
	url := h.URL + "/v2/" + h.want.repo + "/manifests/latest"
	resp, body, err := follow(t.Context(), http.MethodGet, url)
	if err != nil {
		t.Fatal(err)
	}
	var e struct {
		Errors []struct{ Code, Message string }
	}
	if err := json.Unmarshal(body, &e); err != nil || len(e.Errors) != 1 {
		t.Fatalf("%s: %.300s", resp.Status, body)
	}
	if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" || !strings.Contains(e.Errors[0].Message, " MB of held") || h.hops("/") != 8 {
		t.Errorf("%s after %d hops: %s", resp.Status, h.hops("/"), body)
	}
	h.release()
	eventually(t, "the next try finds it", func() bool {
		resp, _, err := follow(t.Context(), http.MethodGet, url)
		return err == nil && resp.StatusCode == http.StatusOK
	})
	h.cache.once(t)
}

// A crowd whose clients all hop shares one piece of work.
func TestHopsOfACrowd(t *testing.T) {
	t.Parallel()
	h := newHeld(t, "nar")
	var crowd sync.WaitGroup
	failed := make(chan error, 20)
	err := h.during(t, func() error {
		for range cap(failed) {
			crowd.Go(func() {
				resp, _, err := follow(t.Context(), http.MethodHead, h.URL+"/v2/"+h.want.repo+"/manifests/latest")
				if err == nil && resp.StatusCode != http.StatusOK {
					err = fmt.Errorf("%s", resp.Status)
				}
				if err != nil {
					failed <- err
				}
			})
		}
		crowd.Wait()
		return nil
	})
	close(failed)
	for e := range failed {
		t.Error(e)
	}
	if err != nil {
		t.Error(err)
	}
	if n := h.count(`"msg":"image made"`); n != 1 {
		t.Errorf("the image was made %d times", n)
	}
	h.cache.once(t)
}
