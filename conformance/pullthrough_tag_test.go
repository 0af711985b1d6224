package conformance_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// at returns the digest that a tag of lab/app has, and the warning that comes with it.
func (s *server) at(t *testing.T, tag string) (digest, warning string) {
	t.Helper()
	resp := s.get(t, "/v2/lab/app/manifests/"+tag)
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s", tag, resp.Status)
	}
	return resp.Header.Get("Docker-Content-Digest"), resp.Header.Get("Warning")
}

// moving is an upstream whose tag v1 can be moved between two images.
func moving(t *testing.T) (u *upstream, one, two shape) {
	t.Helper()
	one = shape{seed: 20, platforms: 1, layers: 1, size: 1000, repository: "app", tags: "v1"}
	two = one
	two.seed = 21
	return newUpstream(t), one, two
}

// Within its TTL a tag means what it did, and the upstream is not asked.
func TestPullThroughTagIsBelieved(t *testing.T) {
	u, one, two := moving(t)
	old := u.push(t, one)
	s := start(t, through(u, "--mirror-ttl", "1h"))
	s.image(t, "lab/app", "v1")
	u.push(t, two)
	for range 20 {
		if got, warning := s.at(t, "v1"); got != old[0].Digest || warning != "" {
			t.Fatalf("v1 is %s within its TTL (warning %q), want %s", got, warning, old[0].Digest)
		}
	}
	u.once(t)
}

// After its TTL a tag is asked for by HEAD, and what it means anew is fetched.
func TestPullThroughTagMoves(t *testing.T) {
	u, one, two := moving(t)
	old := u.push(t, one)
	s := start(t, through(u, "--mirror-ttl", "1ns"))
	for range 5 {
		if got, _ := s.at(t, "v1"); got != old[0].Digest {
			t.Fatalf("v1 is %s, want %s", got, old[0].Digest)
		}
	}
	if gets, heads := u.count("GET /v2/app/manifests/"), u.count("HEAD /v2/app/manifests/v1"); gets != 1 || heads != 4 {
		t.Errorf("for a tag that stays the upstream was asked by %d GET and %d HEAD, want 1 and 4", gets, heads)
	}
	moved := u.push(t, two)
	sameImage(t, "after the tag moved", s.image(t, "lab/app", "v1"), moved)
	sameImage(t, "what it meant before, by digest", s.image(t, "lab/app", old[0].Digest), old)
	back := u.push(t, one)
	u.spoil("HEAD /v2/app/manifests/v1", always, without("Docker-Content-Digest"))
	sameImage(t, "from an upstream that gives no digest", s.image(t, "lab/app", "v1"), back)
	u.heal()
	u.push(t, two)
	u.spoil("HEAD", always, status(http.StatusMethodNotAllowed))
	sameImage(t, "from an upstream that knows no HEAD", s.image(t, "lab/app", "v1"), moved)
}

// However many ask, the upstream gets one HEAD in each TTL.
func TestPullThroughOneHeadInEachTTL(t *testing.T) {
	const ttl = 200 * time.Millisecond
	u, one, _ := moving(t)
	u.push(t, one)
	begin := time.Now()
	s := start(t, through(u, "--mirror-ttl", ttl.String()))
	eventually(t, "the upstream has had four HEADs", func() bool {
		s.at(t, "v1")
		return u.count("HEAD /v2/app/manifests/v1") >= 4
	})
	if took := time.Since(begin); took < 4*ttl {
		t.Errorf("four HEADs within %v, with a TTL of %v", took, ttl)
	}
	if n := u.count("GET /v2/app/manifests/v1"); n != 1 {
		t.Errorf("the upstream was asked for the document %d times", n)
	}
}

// What the upstream has not got is asked for once in a while.
func TestPullThroughAbsenceIsRemembered(t *testing.T) {
	const absentFor = 10 * time.Second
	u, one, _ := moving(t)
	u.push(t, one)
	s := start(t, through(u))
	begin := time.Now()
	paths := map[string]string{
		"manifests/none": "MANIFEST_UNKNOWN",
		"manifests/sha256:" + strings.Repeat("00", 32): "MANIFEST_UNKNOWN",
		"blobs/sha256:" + strings.Repeat("11", 32):     "BLOB_UNKNOWN",
	}
	for range 20 {
		for path, want := range paths {
			if code, text := s.code(t, "/v2/lab/app/"+path); code != http.StatusNotFound || text != want {
				t.Fatalf("%s: %d %s, want 404 %s", path, code, text, want)
			}
		}
	}
	most := 1 + int(time.Since(begin)/absentFor)
	for path := range paths {
		if n := u.count("GET /v2/app/" + path); n < 1 || n > most {
			t.Errorf("the upstream was asked for %s %d times", path, n)
		}
	}
}

// A tag that is gone is gone: only an upstream that does not answer is no reason to forget it.
func TestPullThroughTagIsDeleted(t *testing.T) {
	u, one, _ := moving(t)
	want := u.push(t, one)
	s := start(t, through(u, "--mirror-ttl", "1ns"))
	s.image(t, "lab/app", "v1")
	u.spoil("/v2/app/manifests/v1", always, status(http.StatusNotFound))
	if code, text := s.code(t, "/v2/lab/app/manifests/v1"); code != http.StatusNotFound || text != "MANIFEST_UNKNOWN" {
		t.Errorf("a tag that was deleted: %d %s", code, text)
	}
	sameImage(t, "what it meant, by digest", s.image(t, "lab/app", want[0].Digest), want)
}

// An upstream that does not answer, or badly, is no reason not to serve what a tag meant; the client and the log are told.
func TestPullThroughStaleTag(t *testing.T) {
	t.Parallel() // nixreg waits before it asks again
	bad := map[string]func(u *upstream){
		"down":          func(u *upstream) { u.stop() },
		"429":           func(u *upstream) { u.spoil("manifests", always, status(429, "Retry-After", "60")) },
		"500":           func(u *upstream) { u.spoil("manifests", always, status(500)) },
		"503":           func(u *upstream) { u.spoil("manifests", always, status(503)) },
		"wrong bytes":   func(u *upstream) { u.spoilDocuments(change(page)) },
		"no connection": func(u *upstream) { u.spoil("manifests", always, drop) },
	}
	for name, spoil := range bad {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u, one, two := moving(t)
			want := u.push(t, one)
			s := start(t, through(u, "--mirror-ttl", "1ns"))
			s.image(t, "lab/app", "v1")
			u.push(t, two)
			spoil(u)
			for range 3 {
				digest, warning := s.at(t, "v1")
				if digest != want[0].Digest || !strings.HasPrefix(warning, `299 - "`) {
					t.Fatalf("v1 is %s with the warning %q; want %s with one", digest, warning, want[0].Digest)
				}
			}
			if !strings.Contains(s.log.String(), "the upstream does not answer") {
				t.Error("the log does not say that the upstream does not answer")
			}
			sameImage(t, "while the upstream is bad", s.image(t, "lab/app", "v1"), want)
		})
	}
}

// spoilDocuments spoils what GET answers, and lets HEAD say nothing of use.
func (u *upstream) spoilDocuments(f fault) {
	u.spoil("HEAD /v2/app/manifests/", always, without("Docker-Content-Digest"))
	u.spoil("GET /v2/app/manifests/", always, f)
}

// The lists of tags and of referrers outlive the upstream, as tags do.
func TestPullThroughStaleLists(t *testing.T) {
	t.Parallel()
	u := newUpstream(t)
	want := u.push(t, shape{seed: 22, layers: 1, size: 1000, repository: "app", tags: "v1 v2 v3"})
	note := u.refer(t, "app", want[0])
	s := start(t, through(u, "--mirror-ttl", "1ns"))
	look := func(when string) {
		t.Helper()
		var tags struct{ Tags []string }
		s.json(t, "/v2/lab/app/tags/list", &tags)
		if err := same("the list of tags "+when, fmt.Sprint(tags.Tags), "[note v1 v2 v3]"); err != nil {
			t.Error(err)
		}
		var referrers document
		s.json(t, "/v2/lab/app/referrers/"+want[0].Digest, &referrers)
		if len(referrers.Manifests) != 1 || referrers.Manifests[0].Digest != note {
			t.Errorf("the referrers %s are %v, want %s", when, referrers.Manifests, note)
		}
	}
	look("at first")
	u.stop()
	look("without the upstream")
}

// refer pushes an image that refers to another one, under the tag note, and returns its digest.
func (u *upstream) refer(t *testing.T, repository string, to document) (digest string) {
	t.Helper()
	subject := v1.Descriptor{MediaType: types.MediaType(to.MediaType), Size: 1}
	var err error
	if subject.Digest, err = v1.NewHash(to.Digest); err != nil {
		t.Fatal(err)
	}
	note := mutate.Subject(mutate.MediaType(empty.Image, types.OCIManifestSchema1), subject).(v1.Image)
	if err := remote.Write(u.ref(t, repository, "note"), note); err != nil {
		t.Fatal(err)
	}
	return u.back.manifest(t, repository, "note").Digest
}
