package conformance_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

// served pulls an image and returns its manifest.
func (s *server) served(t *testing.T, repo string) document {
	t.Helper()
	return s.image(t, repo, "latest", ociManifest)[0]
}

// deleted deletes a path that a server holds, behind its back.
func (n ownNix) deleted(t *testing.T, s *server, path string) {
	t.Helper()
	s.letGo(t)
	n.nix(t, "nix-store", "--delete", path)
	if n.has(t, path) {
		t.Fatalf("%s is still there", path)
	}
}

// gone asks for the blobs of an image of which one path has gone. It returns what the answers say that are not whole.
func (s *server) gone(t *testing.T, repo string, m document) (answers []string) {
	t.Helper()
	for _, b := range m.blobs() {
		path := "/v2/" + repo + "/blobs/" + b.Digest
		resp := s.get(t, path)
		if resp.StatusCode == http.StatusOK {
			whole, err := io.ReadAll(resp.Body)
			if errors.Is(err, io.ErrUnexpectedEOF) { // built again within the second in which its files were looked at: clients try a body that is cut again
				resp.Body.Close()
				resp = s.get(t, path)
				whole, _ = io.ReadAll(resp.Body)
			}
			checkBlob(t, path, bytes.NewReader(whole), b)
		} else {
			body, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != http.StatusNotFound {
				t.Errorf("GET %s: %s, %v: %s", path, resp.Status, err, body)
			}
			answers = append(answers, string(body))
		}
		resp.Body.Close()
	}
	return answers
}

// What has gone is 404 with the reason, and the rest of its image is served.
func TestGoneIs404(t *testing.T) {
	endToEnd(t)
	n := newNix(t, "hello")
	s := n.start(t, options{})
	m := s.served(t, "hello")
	n.deleted(t, s, helloPath(t))
	answers := s.gone(t, "hello", m)
	for _, a := range answers {
		if !strings.Contains(a, helloPath(t)) || !strings.Contains(a, "garbage collector") {
			t.Errorf("%s does not name the path, and why it is not there", a)
		}
	}
	if len(answers) != 2 { // the layer of links is made of what is in the path, too
		t.Errorf("%d blobs have gone, want those of %s", len(answers), helloPath(t))
	}
	s.refused(t, "hello", "latest")
	if code, body := s.refused(t, "store/"+hash(helloPath(t)), "latest"); code != http.StatusNotFound {
		t.Errorf("by its hash: %d %s", code, body)
	}
}

// What has gone from the disk is served from a cache that has it, and nothing is fetched into the store for that.
func TestGoneIsServedFromACache(t *testing.T) {
	endToEnd(t)
	n := newNix(t, "hello")
	cache := "file://" + filepath.Join(t.TempDir(), "cache")
	n.nix(t, "nix", "--extra-experimental-features", "nix-command", "copy", "--to", cache, helloPath(t))
	s := n.start(t, options{Args: []string{"--store", cache + "?trusted=true"}})
	m := s.served(t, "hello")
	n.deleted(t, s, helloPath(t))
	if answers := s.gone(t, "hello", m); len(answers) > 0 {
		t.Errorf("not served: %q", answers)
	}
	if again := s.image(t, "store/"+hash(helloPath(t)), "latest", ociManifest)[0]; again.Digest != m.Digest {
		t.Errorf("it is %s, it was %s", again.Digest, m.Digest)
	}
	if n.has(t, helloPath(t)) {
		t.Error("Nix fetched what the cache serves")
	}
	n.collect(t)
	if len(n.named(t, "glibc-*")) == 0 {
		t.Error("what is left of it in the store is not held")
	}
}

// What was built and has gone is built again: the digests that were given out stay good, also after a restart.
func TestGoneIsBuiltAgain(t *testing.T) {
	endToEnd(t)
	n := newNix(t, "hello")
	s := n.start(t, byFlake)
	m := s.served(t, "greeting")
	built := n.named(t, "greeting-1.5")[0]
	n.deleted(t, s, built)
	if answers := s.gone(t, "greeting", m); len(answers) > 0 || !n.has(t, built) {
		t.Errorf("not built again: %q", answers)
	}
	s.manifest(t, "greeting", m.Digest, ociManifest) // by which it is held again
	s.stop(t)
	n.deleted(t, s, built)
	o := byFlake
	o.Data = s.Data
	s = n.start(t, o)
	if again := s.image(t, "greeting", m.Digest, ociManifest)[0]; again.Digest != m.Digest {
		t.Errorf("it is %s, it was %s", again.Digest, m.Digest)
	}
	if got := n.begun(t, "greeting-1.5"); got != 3 {
		t.Errorf("it was built %d times, want three", got)
	}
}

// A build that gives other bytes each time brings nothing back: what was given out is 404, and what is there now has a
// digest of its own.
func TestGoneIsBuiltOtherwise(t *testing.T) {
	endToEnd(t)
	n := newNix(t, "hello")
	s := n.start(t, byFile)
	m := s.served(t, "moody")
	n.deleted(t, s, n.named(t, "moody-1.0")[0])
	answers := s.gone(t, "moody", m)
	if len(answers) == 0 {
		t.Error("all layers are served, though the path has other contents now")
	}
	for _, a := range answers {
		if !strings.Contains(a, "moody-1.0") || !strings.Contains(a, "built again with other contents") && !strings.Contains(a, "replaced by one with other contents") {
			t.Errorf("%s does not name the path, and what became of it", a)
		}
	}
	if again := s.served(t, "moody"); again.Digest == m.Digest {
		t.Errorf("two builds gave %s", m.Digest)
	}
	s.gone(t, "moody", m)
}
