package mirror

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sync/errgroup"

	"nixreg/registry"
	"nixreg/registry/mirror/blobs"
)

// The first pull asks for each thing once, the next ones for nothing, even of a new process without an upstream.
func TestPull(t *testing.T) {
	f := newFixture(t)
	m, config, layer := f.hub.image("team/app", "v1", "app")
	top := f.hub.index("team/app", "latest", map[string]v1.Hash{"amd64": m})
	everything := func() {
		t.Helper()
		mustPull(t, f, "team/app", "latest", top)
		mustPull(t, f, "team/app", top.String(), top)
		mustPull(t, f, "team/app", m.String(), m)
		mustRead(t, f, "team/app", config, `{"os":"linux","text":"app"}`)
		mustRead(t, f, "team/app", layer, "layer of app")
	}
	everything()
	wantRequests(t, f, "GET team/app/manifests/latest", "GET team/app/manifests/"+m.String(), "GET team/app/blobs/"+config.String(), "GET team/app/blobs/"+layer.String())
	everything()
	wantRequests(t, f)
	f.hub.Close()
	f.restart(t)
	everything()
}

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
			if took := time.Since(before); took != map[bool]time.Duration{true: patience}[i == 0] {
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
	heads int
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
	data := `{"of":"` + ref + `"}`
	return &v1.Descriptor{MediaType: types.OCIManifestSchema1, Digest: digestOf(data), Size: int64(len(data)), Data: []byte(data)}, nil
}

func (h *hanging) Head(ctx context.Context, _, _ string, _ ...types.MediaType) (*v1.Descriptor, error) {
	h.heads++
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

// A crowd that wants the same causes one request for each thing.
func TestCrowd(t *testing.T) {
	f := newFixture(t)
	m, config, layer := f.hub.image("app", "latest", "app")
	arrived, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	f.hub.fail(func(http.ResponseWriter, *http.Request) bool {
		once.Do(func() { close(arrived) })
		<-release
		return false
	})
	var crowd errgroup.Group
	for range 100 {
		crowd.Go(func() error {
			d, _, err := f.pull(t, "app", "latest")
			if err != nil || d.Digest != m {
				return fmt.Errorf("got %v, %v", d, err)
			}
			if s, err := f.read(t, "app", config); err != nil || s != `{"os":"linux","text":"app"}` {
				return fmt.Errorf("config: %q, %v", s, err)
			}
			if s, err := f.read(t, "app", layer); err != nil || s != "layer of app" {
				return fmt.Errorf("layer: %q, %v", s, err)
			}
			return nil
		})
	}
	<-arrived
	close(release)
	if err := crowd.Wait(); err != nil {
		t.Fatal(err)
	}
	wantRequests(t, f, "GET app/manifests/latest", "GET app/blobs/"+config.String(), "GET app/blobs/"+layer.String())
}

// Who leaves ends no question that others wait for, and Close ends all.
func TestLeaving(t *testing.T) {
	f := newFixture(t)
	m, _, _ := f.hub.image("app", "latest", "app")
	arrived, release := make(chan struct{}), make(chan struct{})
	f.hub.fail(func(http.ResponseWriter, *http.Request) bool {
		arrived <- struct{}{}
		<-release
		return false
	})
	leaving, leave := context.WithCancel(t.Context())
	left := make(chan error)
	ask := func(ctx context.Context) error {
		_, err := f.Manifest(ctx, registry.Request{Repository: "app", Tag: "latest", Accept: everything})
		return err
	}
	go func() { left <- ask(leaving) }()
	<-arrived
	leave()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("who left got %v", err)
	}
	stayed := make(chan error)
	go func() { stayed <- ask(t.Context()) }()
	release <- struct{}{}
	if err := <-stayed; err != nil {
		t.Errorf("who stayed got %v", err)
	}
	f.hub.fail(nil)
	mustPull(t, f, "app", "latest", m)
	wantRequests(t, f, "GET app/manifests/latest")

	f.hub.fail(func(http.ResponseWriter, *http.Request) bool {
		arrived <- struct{}{}
		<-release
		return false
	})
	go func() {
		_, err := f.Manifest(t.Context(), registry.Request{Repository: "other", Tag: "latest", Accept: everything})
		left <- err
	}()
	<-arrived
	f.Close()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("after Close: %v", err)
	}
	close(release)
	if err := ask(t.Context()); err != nil {
		t.Errorf("what is kept, after Close: %v", err)
	}
}

// A repository gives its own blobs alone: that a blob is here for another one proves nothing.
func TestBlobsOfAnotherRepository(t *testing.T) {
	f := newFixture(t)
	m, _, layer := f.hub.image("secret", "latest", "secret")
	mustPull(t, f, "secret", "latest", m)
	mustRead(t, f, "secret", layer, "layer of secret")
	f.hub.requests()
	checkStatus(t, "blob", second(f.read(t, "public", layer)), 404)
	checkStatus(t, "manifest", errorOf(f.pull(t, "public", m.String())), 404)
	wantRequests(t, f, "HEAD public/blobs/"+layer.String(), "GET public/manifests/"+m.String())

	f.hub.image("public", "", "secret") // the same content is there, too
	f.clock.move(absentFor)
	mustRead(t, f, "public", layer, "layer of secret")
	mustRead(t, f, "public", layer, "layer of secret")
	wantRequests(t, f, "HEAD public/blobs/"+layer.String())
}

// A document is not served as a blob, nor a blob as a document, whatever is kept under the digest.
func TestKinds(t *testing.T) {
	f := newFixture(t)
	m, config, _ := f.hub.image("app", "latest", "app")
	mustPull(t, f, "app", "latest", m)
	mustRead(t, f, "app", config, `{"os":"linux","text":"app"}`)
	checkStatus(t, "config as a manifest", errorOf(f.pull(t, "app", config.String())), 404)
	checkStatus(t, "manifest as a blob", second(f.read(t, "app", m)), 404)
}

// A HEAD asks the upstream for what is not here, and fetches nothing; the size is right in each case.
func TestHead(t *testing.T) {
	f := newFixture(t)
	m, _, layer := f.hub.image("app", "latest", "app")
	mustPull(t, f, "app", "latest", m)
	f.hub.requests()
	head := func(d v1.Hash) (int64, error) {
		b, err := f.Blob(t.Context(), registry.BlobRequest{Repository: "app", Digest: d, Head: true})
		if err != nil {
			return 0, err
		}
		return b.Size(), nil
	}
	size, err := head(layer)
	if err != nil || size != int64(len("layer of app")) {
		t.Errorf("cold: %d, %v", size, err)
	}
	_, err = head(digestOf("absent"))
	checkStatus(t, "absent", err, 404)
	wantRequests(t, f, "HEAD app/blobs/"+layer.String(), "HEAD app/blobs/"+digestOf("absent").String())
	mustRead(t, f, "app", layer, "layer of app")
	f.hub.Close()
	if size, err := head(layer); err != nil || size != int64(len("layer of app")) {
		t.Errorf("kept: %d, %v", size, err)
	}
}

// By tag a client gets what it accepts: the index, or else the image for linux/amd64; never another type of the same.
func TestNegotiation(t *testing.T) {
	f := newFixture(t)
	arm, _, _ := f.hub.image("app", "", "arm")
	amd, _, _ := f.hub.image("app", "", "amd")
	index := f.hub.index("app", "latest", map[string]v1.Hash{"amd64": amd, "arm64": arm})
	onlyArm := f.hub.index("app", "arm", map[string]v1.Hash{"arm64": arm})
	for _, c := range []struct {
		tag    string
		accept types.MediaType
		want   v1.Hash
	}{
		{"latest", types.OCIImageIndex, index},
		{"latest", types.OCIManifestSchema1, amd},
		{"latest", types.DockerManifestSchema2, v1.Hash{}},
		{"arm", types.OCIImageIndex, onlyArm},
		{"arm", types.OCIManifestSchema1, v1.Hash{}},
	} {
		accept := func(offers ...types.MediaType) (types.MediaType, bool) {
			return c.accept, slices.Contains(offers, c.accept)
		}
		d, err := f.Manifest(t.Context(), registry.Request{Repository: "app", Tag: c.tag, Accept: accept})
		if c.want == (v1.Hash{}) {
			if !errors.Is(err, errors.ErrUnsupported) {
				t.Errorf("%s as %s: %v, want that it is not supported", c.tag, c.accept, err)
			}
		} else if err != nil || d.Digest != c.want || d.MediaType != c.accept {
			t.Errorf("%s as %s: %v, %v; want %s", c.tag, c.accept, d, err, c.want)
		}
	}
}

// What is no manifest is not served, although its digest is right.
func TestMalformedDocuments(t *testing.T) {
	f := newFixture(t)
	f.hub.mu.Lock()
	f.hub.document("app", "text", "text/html", "<html>log in</html>")
	f.hub.document("app", "type", "application/json", `{"schemaVersion":2}`)
	f.hub.document("app", "list", types.OCIImageIndex, `[]`)
	good := f.hub.document("app", "file", "text/plain", fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[]}`, types.OCIImageIndex))
	f.hub.mu.Unlock()
	for _, tag := range []string{"text", "list"} {
		checkStatus(t, tag, errorOf(f.pull(t, "app", tag)), 502)
	}
	if err := errorOf(f.pull(t, "app", "type")); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("type: %v, want that it is not supported", err)
	}
	d, _, err := f.pull(t, "app", "file")
	if err != nil || d.Digest != good || d.MediaType != types.OCIImageIndex {
		t.Errorf("a server of files: %v, %v", d, err)
	}
}

// Wrong bytes are no answer, and nothing of them stays.
func TestWrongBytes(t *testing.T) {
	f := newFixture(t)
	m, _, layer := f.hub.image("app", "latest", "app")
	lie := func(w http.ResponseWriter, r *http.Request) bool {
		send(w, string(types.OCIManifestSchema1), "layer of lie")
		return true
	}
	f.hub.fail(lie)
	checkStatus(t, "manifest", errorOf(f.pull(t, "app", m.String())), 502)
	f.hub.fail(nil)
	f.clock.move(downFor)
	mustPull(t, f, "app", m.String(), m)
	f.hub.fail(lie)
	if s, err := f.read(t, "app", layer); err == nil || s == "layer of lie" {
		t.Errorf("blob: %q, %v", s, err)
	}
	f.hub.fail(nil)
	mustRead(t, f, "app", layer, "layer of app")
}

func TestLists(t *testing.T) {
	f := newFixture(t)
	m, _, _ := f.hub.image("app", "latest", "app")
	f.hub.tags["app"] = []string{"v2", "latest", "v1", "v1"}
	sig := f.hub.index("app", "sha256-"+m.Hex, map[string]v1.Hash{"amd64": m})
	for range 2 {
		tags, err := f.Tags(t.Context(), "app")
		if err != nil || strings.Join(tags, " ") != "latest v1 v2" {
			t.Errorf("tags %q, %v", tags, err)
		}
		refs, err := f.Referrers(t.Context(), "app", m)
		if err != nil || len(refs) != 1 || refs[0].Digest != m {
			t.Errorf("referrers %v, %v; want those of %s", refs, err, sig)
		}
	}
	for k, n := range f.hub.requests() {
		if n != 1 {
			t.Errorf("%s: %d times", k, n)
		}
	}
	f.clock.move(defaultTTL)
	f.hub.Close()
	if tags, err := f.Tags(t.Context(), "app"); err != nil || len(tags) != 3 {
		t.Errorf("without upstream: tags %q, %v", tags, err)
	}
	if _, err := f.Repositories(t.Context()); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("repositories: %v", err)
	}
}

// What a manifest says of a blob's size is not proof: the digest is.
func TestWrongSizeInAManifest(t *testing.T) {
	f := newFixture(t)
	m, config, layer := f.hub.image("app", "good", "app")
	mustPull(t, f, "app", "good", m)
	f.hub.mu.Lock()
	data := strings.Replace(f.hub.docs["app:good"].data, fmt.Sprintf(`"size":%d}]`, len("layer of app")), `"size":99}]`, 1)
	bad := f.hub.document("app", "bad", types.OCIManifestSchema1, data)
	f.hub.mu.Unlock()
	if bad == m {
		t.Fatal("the two are equal")
	}
	mustPull(t, f, "app", "bad", bad)
	mustRead(t, f, "app", layer, "layer of app")
	f.restart(t)
	mustPull(t, f, "app", "bad", bad)
	mustRead(t, f, "app", layer, "layer of app")
	mustRead(t, f, "app", config, `{"os":"linux","text":"app"}`)
}

// Without room to keep anything, a manifest is still asked for once.
func TestNothingKept(t *testing.T) {
	f := newFixture(t, func(c *Config) {
		cache, err := blobs.Open(blobs.Options{Dir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cache.Close() })
		c.Blobs = cache
	})
	m, _, layer := f.hub.image("app", "latest", "app")
	mustPull(t, f, "app", "latest", m)
	wantRequests(t, f, "GET app/manifests/latest")
	mustPull(t, f, "app", m.String(), m)
	mustRead(t, f, "app", layer, "layer of app")
}

// Records that are lost cost questions, never the image.
func TestLostRecords(t *testing.T) {
	f := newFixture(t)
	m, _, layer := f.hub.image("app", "latest", "app")
	mustPull(t, f, "app", "latest", m)
	mustRead(t, f, "app", layer, "layer of app")
	f.c.Records = new(memory)
	f.restart(t)
	mustRead(t, f, "app", layer, "layer of app")
	mustPull(t, f, "app", m.String(), m)
	mustPull(t, f, "app", "latest", m)
}

func TestPermits(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.Allow, c.Deny = []string{"library/*", "team/**"}, []string{"**/secret"} })
	m, _, layer := f.hub.image("team/a", "latest", "a")
	mustPull(t, f, "team/a", "latest", m)
	f.hub.requests()
	checkStatus(t, "manifest", errorOf(f.pull(t, "other", "latest")), 403)
	checkStatus(t, "blob", second(f.read(t, "team/secret", layer)), 403)
	checkStatus(t, "tags", second(f.Tags(t.Context(), "library/a/b")), 403)
	_, err := f.Referrers(t.Context(), "other", m)
	checkStatus(t, "referrers", err, 403)
	wantRequests(t, f)
	if _, err := New(Config{Upstream: f.c.Upstream, Allow: []string{"a/[b"}}); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("a pattern that is none: %v", err)
	}
}

func TestPattern(t *testing.T) {
	for pattern, names := range map[string]struct{ yes, no []string }{
		"library/*":  {[]string{"library/a", "library/b-c"}, []string{"library", "library/a/b", "other/a"}},
		"**":         {[]string{"a", "a/b", "a/b/c"}, nil},
		"a/**":       {[]string{"a", "a/b", "a/b/c"}, []string{"b", "b/a"}},
		"**/a":       {[]string{"a", "b/a", "c/b/a"}, []string{"a/b", "ab"}},
		"a/**/b":     {[]string{"a/b", "a/x/b", "a/b/b"}, []string{"a", "a/b/c"}},
		"**/a/**/b":  {[]string{"a/b", "x/a/b", "a/a/b", "x/a/y/a/z/b"}, []string{"b/a", "a", "x/b"}},
		"*/a?-[0-9]": {[]string{"x/ab-1"}, []string{"x/ab-a", "ab-1"}},
	} {
		p, err := parsePatterns([]string{pattern})
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names.yes {
			if !match(p, strings.Split(name, "/")) {
				t.Errorf("%s does not match %s", pattern, name)
			}
		}
		for _, name := range names.no {
			if match(p, strings.Split(name, "/")) {
				t.Errorf("%s matches %s", pattern, name)
			}
		}
	}
}

func FuzzPattern(f *testing.F) {
	f.Add("a/**/b*", "a/x/y/b1")
	f.Add("**/**/**/**/x", "a/a/a/a/a/a/a/a")
	f.Fuzz(func(t *testing.T, text, name string) {
		p, err := parsePatterns([]string{text})
		if err != nil {
			return
		}
		components := strings.Split(name, "/")
		longer := []pattern{append(slices.Clone(p[0]), "**")}
		if match(p, components) && !match(longer, append(slices.Clone(components), "x")) {
			t.Errorf("%q matches %q, but with ** not one component more", text, name)
		}
	})
}
