package mirror

import (
	"context"
	"crypto/sha512"
	"errors"
	"io/fs"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/nixreg/nixreg/internal/cases"
	"github.com/nixreg/nixreg/registry"
	"github.com/nixreg/nixreg/registry/mirror/blobs"
	"github.com/nixreg/nixreg/registry/upstream"
)

// A tag is asked for once in the TTL, by HEAD; the document only if it is another.
func TestTagIsRevalidated(t *testing.T) {
	f := newFixture(t)
	first, _, _ := f.hub.image("app", "latest", "one")
	mustPull(t, f, "app", "latest", first)
	wantRequests(t, f, "GET app/manifests/latest")

	second, _, _ := f.hub.image("app", "latest", "two")
	f.clock.move(defaultTTL - 1)
	mustPull(t, f, "app", "latest", first)
	wantRequests(t, f)

	f.clock.move(1)
	mustPull(t, f, "app", "latest", second)
	wantRequests(t, f, "HEAD app/manifests/latest", "GET app/manifests/"+second.String())

	f.clock.move(defaultTTL)
	mustPull(t, f, "app", "latest", second)
	mustPull(t, f, "app", "latest", second)
	wantRequests(t, f, "HEAD app/manifests/latest")
	mustPull(t, f, "app", first.String(), first) // the old one is still there
	wantRequests(t, f)

	f.clock.move(-time.Hour) // a clock that was set back must not make a tag fresh for an hour
	mustPull(t, f, "app", "latest", second)
	wantRequests(t, f, "HEAD app/manifests/latest")
}

// A server that knows no HEAD, or does not say the digest, is asked by GET.
func TestTagWithoutHead(t *testing.T) {
	for name, wrong := range map[string]func(w http.ResponseWriter, r *http.Request) bool{
		"405": func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodHead {
				w.WriteHeader(http.StatusMethodNotAllowed)
			}
			return r.Method == http.MethodHead
		},
		"no digest": func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodHead {
				w.Header().Set("Content-Type", string(types.OCIManifestSchema1))
			}
			return r.Method == http.MethodHead
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.hub.fail(wrong)
			first, _, _ := f.hub.image("app", "latest", "one")
			mustPull(t, f, "app", "latest", first)
			second, _, _ := f.hub.image("app", "latest", "two")
			f.clock.move(defaultTTL)
			f.hub.requests()
			mustPull(t, f, "app", "latest", second)
			wantRequests(t, f, "HEAD app/manifests/latest", "GET app/manifests/latest")
		})
	}
}

// An upstream may know its documents by another digest. Here all have their sha256.
func TestTagWithAnotherDigest(t *testing.T) {
	f := newFixture(t)
	f.hub.algorithm = sha512.New
	m, _, layer := f.hub.image("app", "latest", "app")
	for range 2 {
		mustPull(t, f, "app", "latest", m)
		f.clock.move(defaultTTL)
	}
	mustPull(t, f, "app", m.String(), m)
	mustRead(t, f, "app", layer, "layer of app")
}

// What a bad hour of the upstream would hide is served as it was, with a warning, and the upstream is not asked again at
// once. What it says is gone, or not for us, is not served.
func TestUpstreamFails(t *testing.T) {
	for _, c := range []struct {
		name   string
		fail   func(h *hub)
		served bool
		status int // without a copy
	}{
		{"down", func(h *hub) { h.Close() }, true, 502},
		{"408", func(h *hub) { h.failWith(408) }, true, 502},
		{"429", func(h *hub) { h.failWith(429, "Retry-After", "7") }, true, 429},
		{"500", func(h *hub) { h.failWith(500) }, true, 500},
		{"503", func(h *hub) { h.failWith(503, "Retry-After", "7") }, true, 503},
		{"404", func(h *hub) { h.failWith(404) }, false, 404},
		{"403", func(h *hub) { h.failWith(403) }, false, 403},
		{"401", func(h *hub) { h.failWith(401) }, false, 403},
		{"400", func(h *hub) { h.failWith(400) }, false, 502},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t)
			m, _, layer := f.hub.image("app", "latest", "app")
			mustPull(t, f, "app", "latest", m)
			f.clock.move(defaultTTL)
			c.fail(f.hub)
			f.hub.requests()
			d, warnings, err := f.pull(t, "app", "latest")
			if (err == nil) != c.served {
				t.Fatalf("with a copy: %v", err)
			}
			if c.served && (d.Digest != m || len(warnings) != 1 || !strings.Contains(warnings[0], "lab does not answer: this is app:latest as it was 5m0s ago")) {
				t.Errorf("served %s with warnings %q", d.Digest, warnings)
			}
			f.hub.requests()
			f.pull(t, "app", "latest")
			wantRequests(t, f) // not again at once
			for what, err := range map[string]error{
				"tag":  errorOf(f.pull(t, "app", "other")),
				"doc":  errorOf(f.pull(t, "other", m.String())),
				"blob": second(f.read(t, "app", layer)),
				"tags": second(f.Tags(t.Context(), "app")),
			} {
				checkStatus(t, what, err, c.status)
			}
		})
	}
}

func errorOf(_ *v1.Descriptor, _ []string, err error) error { return err }

func second[T any](_ T, err error) error { return err }

// checkStatus compares what a client would see.
func checkStatus(t *testing.T, what string, err error, want int) {
	t.Helper()
	var s *registry.StatusError
	switch {
	case want == 404:
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v, want that it does not exist", what, err)
		}
	case !errors.As(err, &s) || s.Status != want:
		t.Errorf("%s: %v, want status %d", what, err, want)
	case (want == 429 || want == 503) && s.RetryAfter != 7*time.Second:
		t.Errorf("%s: Retry-After %v, want 7s", what, s.RetryAfter)
	}
}

// The upstream's wish to be left alone holds for all documents, until its time is over; blobs are not counted.
func TestBusyUpstream(t *testing.T) {
	f := newFixture(t)
	m, _, layer := f.hub.image("app", "latest", "app")
	other, _, _ := f.hub.image("other", "latest", "other")
	mustPull(t, f, "app", "latest", m)
	f.hub.failWith(429, "Retry-After", "60")
	var s *registry.StatusError
	if err := errorOf(f.pull(t, "busy", "latest")); !errors.As(err, &s) || s.Status != 429 || s.RetryAfter != time.Minute {
		t.Errorf("%v; want 429, and a minute", err)
	}
	f.hub.fail(nil)
	f.hub.requests()
	f.clock.move(20 * time.Second)
	err := errorOf(f.pull(t, "other", "latest"))
	if !errors.As(err, &s) || s.Status != 429 || s.RetryAfter != 40*time.Second || s.Error() != "lab: wants fewer requests" {
		t.Errorf("while it is busy: %v; want 429, what is left of a minute, and nothing of the other question", err)
	}
	wantRequests(t, f)
	mustRead(t, f, "app", layer, "layer of app")
	f.clock.move(40 * time.Second)
	mustPull(t, f, "other", "latest", other)
}

// That the token server wants fewer requests for one repository says nothing of the others.
func TestBusyTokenServer(t *testing.T) {
	f := newFixture(t)
	m, _, _ := f.hub.image("app", "latest", "app")
	f.hub.fail(func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case r.URL.Path == "/token" && strings.Contains(r.URL.Query().Get("scope"), ":busy:"):
			w.WriteHeader(http.StatusTooManyRequests)
		case r.URL.Path == "/token":
			send(w, "application/json", `{"token":"t","expires_in":300}`)
		case r.Header.Get("Authorization") == "":
			w.Header().Set("WWW-Authenticate", `Bearer realm="`+f.hub.URL+`/token",service="hub"`)
			w.WriteHeader(http.StatusUnauthorized)
		default:
			return false
		}
		return true
	})
	checkStatusOnly(t, errorOf(f.pull(t, "busy", "latest")), 429)
	mustPull(t, f, "app", "latest", m)
}

func checkStatusOnly(t *testing.T, err error, want int) {
	t.Helper()
	var s *registry.StatusError
	if !errors.As(err, &s) || s.Status != want {
		t.Errorf("%v, want status %d", err, want)
	}
}

// An upstream that hangs is waited for once, not for each tag and pull of which there is a copy.
func TestHangingUpstream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up := &hanging{}
		m, cache := newHanging(t, up)
		up.give(t, m, "one")
		up.give(t, m, "two")
		up.hang = true
		time.Sleep(defaultTTL)
		for i, tag := range []string{"one", "one", "two", "one"} {
			before := time.Now()
			warned := 0
			_, err := m.Manifest(t.Context(), registry.Request{Repository: "app", Tag: tag, Accept: everything, Warn: func(string) { warned++ }})
			if err != nil || warned != 1 {
				t.Errorf("%s: %v, %d warnings", tag, err, warned)
			}
			if took := time.Since(before); took != map[bool]time.Duration{true: copyWait}[i == 0] {
				t.Errorf("pull %d took %v", i, took)
			}
		}
		if up.heads != 1 {
			t.Errorf("%d HEADs", up.heads)
		}
		m.Close()
		cache.Close()
	})
}

// hanging is an upstream in memory that stops to answer.
type hanging struct {
	Upstream
	hang  bool
	moved chan struct{} // if set, HEADs wait for it, and all tags have moved then

	mu    sync.Mutex
	heads int
	gets  int
}

// asked is how often it has been asked for documents, but for what give got.
func (h *hanging) asked() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.heads + h.gets
}

func newHanging(t *testing.T, up *hanging) (*Mirror, *blobs.Cache) {
	t.Helper()
	cache, err := blobs.Open(blobs.Options{Dir: t.TempDir(), Max: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	m, err := New(Config{Upstream: up, Blobs: cache, Records: new(memory)})
	if err != nil {
		t.Fatal(err)
	}
	return m, cache
}

func (h *hanging) give(t *testing.T, m *Mirror, tag string) {
	t.Helper()
	if _, err := m.Manifest(t.Context(), registry.Request{Repository: "app", Tag: tag, Accept: everything}); err != nil {
		t.Fatal(err)
	}
}

func (h *hanging) Name() string { return "lab" }

func (h *hanging) Manifest(_ context.Context, _, ref string, _ ...types.MediaType) (*v1.Descriptor, error) {
	if h.moved != nil {
		h.mu.Lock()
		h.gets++
		h.mu.Unlock()
	}
	data := `{"of":"` + ref + `"}`
	return &v1.Descriptor{MediaType: types.OCIManifestSchema1, Digest: digestOf(data), Size: int64(len(data)), Data: []byte(data)}, nil
}

func (h *hanging) Head(ctx context.Context, _, ref string, _ ...types.MediaType) (*v1.Descriptor, error) {
	h.mu.Lock()
	h.heads++
	h.mu.Unlock()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-h.moved:
		return &v1.Descriptor{Digest: digestOf("moved " + ref)}, nil
	}
}

func (h *hanging) Tags(ctx context.Context, _ string) ([]string, error) {
	if h.hang {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return []string{"one"}, nil
}

func (h *hanging) Referrers(ctx context.Context, _ string, _ v1.Hash) ([]v1.Descriptor, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// What is not there is asked for once in a while, however many want it.
func TestAbsentIsRemembered(t *testing.T) {
	f := newFixture(t)
	for range 3 {
		checkStatus(t, "absent", errorOf(f.pull(t, "app", "latest")), 404)
	}
	wantRequests(t, f, "GET app/manifests/latest")
	m, _, _ := f.hub.image("app", "latest", "app")
	f.clock.move(absentFor)
	mustPull(t, f, "app", "latest", m)
}

// TestCaseR1RefusedWithACopy: while the upstream refuses the mirror's credentials, what is kept is served, with a warning.
func TestCaseR1RefusedWithACopy(t *testing.T) {
	cases.Open(t, "R1")
	for _, refusal := range []int{500, 401, 403} { // the first as today
		f := newFixture(t)
		m, _, layer := f.hub.image("app", "latest", "app")
		password := "old"
		f.hub.fail(func(w http.ResponseWriter, r *http.Request) bool {
			switch _, given, ok := r.BasicAuth(); {
			case !ok:
				w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
				w.WriteHeader(401)
			case given != password:
				w.WriteHeader(refusal)
			default:
				return false
			}
			return true
		})
		up, err := upstream.New(upstream.Options{
			Name: "lab", URL: f.hub.URL, Keychain: known{"old"}, Now: f.clock.now,
			Wait: func(context.Context, time.Duration) error { return nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		f.c.Upstream = up
		f.restart(t)
		mustPull(t, f, "app", "latest", m)
		mustRead(t, f, "app", layer, "layer of app")
		password = "new"
		f.clock.move(defaultTTL)
		if d, warnings, err := f.pull(t, "app", "latest"); err != nil || d.Digest != m || len(warnings) != 1 {
			t.Errorf("%d: %v, warnings %q", refusal, err, warnings)
		}
		mustRead(t, f, "app", layer, "layer of app")
	}
}

// known is a keychain with alice's password.
type known struct{ password string }

func (k known) Resolve(authn.Resource) (authn.Authenticator, error) {
	return authn.FromConfig(authn.AuthConfig{Username: "alice", Password: k.password}), nil
}

// TestCaseR4RefusedHead: a registry that knows no HEAD of manifests, and says 404, has a tag all the same. It is asked by
// GET where there is a copy alone: a GET costs pull quota.
func TestCaseR4RefusedHead(t *testing.T) {
	cases.Open(t, "R4")
	for _, refusal := range []int{405, 404} { // the first as today
		f := newFixture(t)
		first, _, _ := f.hub.image("app", "latest", "one")
		f.hub.fail(func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodHead {
				w.WriteHeader(refusal)
			}
			return r.Method == http.MethodHead
		})
		mustPull(t, f, "app", "latest", first)
		f.clock.move(defaultTTL)
		mustPull(t, f, "app", "latest", first)
		second, _, _ := f.hub.image("app", "latest", "two")
		f.clock.move(defaultTTL)
		mustPull(t, f, "app", "latest", second)
		f.clock.move(defaultTTL)
		f.hub.requests()
		f.hub.failWith(404)
		checkStatus(t, "deleted", errorOf(f.pull(t, "app", "latest")), 404)
		checkStatus(t, "never there", errorOf(f.pull(t, "app", "absent")), 404)
		if n := f.hub.requests()["GET app/manifests/absent"]; n != 1 {
			t.Errorf("%d: %d GETs for what is not there", refusal, n)
		}
	}
}

// TestCaseR6BusyOrganisation: that one organisation wants fewer requests says nothing of the others, unless two of them do.
func TestCaseR6BusyOrganisation(t *testing.T) {
	cases.Open(t, "R6")
	f := newFixture(t)
	quiet, _, _ := f.hub.image("quietorg/b", "latest", "quiet")
	f.hub.image("quietorg/c", "latest", "third")
	f.hub.fail(func(w http.ResponseWriter, r *http.Request) bool {
		busy := strings.HasPrefix(r.URL.Path, "/v2/busy")
		if busy {
			w.Header().Set("Retry-After", "60")
			w.WriteHeader(http.StatusTooManyRequests)
		}
		return busy
	})
	checkStatusOnly(t, errorOf(f.pull(t, "busyorg/b", "latest")), 429)
	f.hub.requests()
	checkStatusOnly(t, errorOf(f.pull(t, "busyorg/other", "latest")), 429)
	wantRequests(t, f)
	if d, _, err := f.pull(t, "quietorg/b", "latest"); err != nil || d.Digest != quiet {
		t.Errorf("another organisation: %v", err)
	}
	f.clock.move(30 * time.Second)
	checkStatusOnly(t, errorOf(f.pull(t, "busytoo/b", "latest")), 429)
	f.hub.requests()
	checkStatusOnly(t, errorOf(f.pull(t, "quietorg/c", "latest")), 429)
	wantRequests(t, f)
}
