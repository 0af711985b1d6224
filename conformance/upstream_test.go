package conformance_test

import (
	"bytes"
	"io"
	"log"
	"math/rand"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// upstream is a registry that nixreg pulls through. A gate in front of it notes what is asked for, and can answer in the
// registry's place (upstream_fault_test.go).
type upstream struct {
	URL  string  // of the gate
	Host string  // localhost:port of the gate
	back *server // the registry behind it: pushes go there, and questions that are not to be counted

	front *httptest.Server
	proxy http.Handler

	mu     sync.Mutex
	asked  []asked
	spoilt []*spoilt
}

// asked is one request that reached the gate.
type asked struct{ line, span, authorization string } // "GET /v2/…", and the headers Range and Authorization

// newUpstream is one of ggcr's make, in this process.
func newUpstream(t *testing.T) *upstream {
	t.Helper()
	return gate(t, localServer(t, memoryRegistry()))
}

func memoryRegistry() http.Handler {
	return resuming{registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithReferrersSupport(true))}
}

// localServer serves on a port of the loopback interface until the test ends.
func localServer(t *testing.T, h http.Handler) *server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	host := onLocalhost(s)
	return &server{URL: "http://" + host, Host: host}
}

// onLocalhost is where a server is, by name: where an address stands, realms of tokens are suspect to some clients.
func onLocalhost(s *httptest.Server) string {
	return strings.Replace(strings.TrimPrefix(s.URL, "http://"), "127.0.0.1", "localhost", 1)
}

// resuming adds to ggcr's registry ranges without an end.
type resuming struct{ http.Handler }

func (h resuming) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet || !strings.Contains(r.URL.Path, "/blobs/") {
		h.Handler.ServeHTTP(w, r)
		return
	}
	all := r.Clone(r.Context())
	all.Header.Del("Range")
	a := answerOf(h.Handler, all)
	if a.Code != http.StatusOK {
		replay(w, a)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(a.Body.Bytes()))
}

// gate puts a gate in front of a registry.
func gate(t *testing.T, back *server) *upstream {
	t.Helper()
	to, err := url.Parse(back.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(to)
	proxy.ErrorLog = log.New(io.Discard, "", 0)
	u := &upstream{back: back, proxy: proxy}
	u.front = httptest.NewUnstartedServer(u)
	u.front.Config.ErrorLog = proxy.ErrorLog
	u.front.Start()
	t.Cleanup(u.stop)
	u.Host = onLocalhost(u.front)
	u.URL = "http://" + u.Host
	return u
}

// stop makes the upstream unreachable for good. Answers under way are cut.
func (u *upstream) stop() {
	u.front.CloseClientConnections()
	u.front.Close()
}

// ServeHTTP notes the request, and answers it.
func (u *upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a := asked{r.Method + " " + r.URL.Path, r.Header.Get("Range"), r.Header.Get("Authorization")}
	u.mu.Lock()
	u.asked = append(u.asked, a)
	f := u.take(a.line)
	u.mu.Unlock()
	if f == nil {
		u.proxy.ServeHTTP(w, r)
		return
	}
	f(w, r, u.proxy)
}

// requests are those so far whose line has a part.
func (u *upstream) requests(part string) []asked {
	u.mu.Lock()
	defer u.mu.Unlock()
	var some []asked
	for _, a := range u.asked {
		if strings.Contains(a.line, part) {
			some = append(some, a)
		}
	}
	return some
}

func (u *upstream) count(part string) int { return len(u.requests(part)) }

// forget begins to count anew.
func (u *upstream) forget() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.asked = nil
}

// once fails the test if anything but the ping was asked for twice.
func (u *upstream) once(t *testing.T) {
	t.Helper()
	times := make(map[string]int)
	for _, a := range u.requests("") {
		times[a.line]++
	}
	delete(times, "GET /v2/")
	if len(times) == 0 {
		t.Error("the upstream was asked for nothing")
	}
	for line, n := range times {
		if n != 1 {
			t.Errorf("the upstream was asked %d times: %s", n, line)
		}
	}
}

// shape is what a random image is to be like; the same shape is the same image.
type shape struct {
	seed             int64
	platforms        int // 0 is one image without an index
	layers           int
	size             int64 // bytes of a layer, uncompressed, which they are
	repository, tags string
}

// push makes an image, pushes it, and returns what is there then: the documents, that of the tag first.
func (u *upstream) push(t *testing.T, i shape) []document {
	t.Helper()
	source := random.WithSource(rand.NewSource(i.seed))
	index, err := random.Index(i.size, int64(i.layers), int64(max(i.platforms, 1)), source)
	if err != nil {
		t.Fatal(err)
	}
	for _, tag := range strings.Fields(i.tags) {
		if i.platforms > 0 {
			err = remote.WriteIndex(u.ref(t, i.repository, tag), index)
		} else {
			err = remote.Write(u.ref(t, i.repository, tag), onlyImage(t, index))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return u.back.image(t, i.repository, strings.Fields(i.tags)[0])
}

func onlyImage(t *testing.T, index v1.ImageIndex) v1.Image {
	t.Helper()
	m, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	image, err := index.Image(m.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// ref is the name of an image behind the gate.
func (u *upstream) ref(t *testing.T, repository, tag string) name.Tag {
	t.Helper()
	ref, err := name.NewTag(u.back.Host + "/" + repository + ":" + tag)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// pushHello copies the demo's hello, which runs, into library/hello, and returns its documents.
func (u *upstream) pushHello(t *testing.T) []document {
	t.Helper()
	origin := start(t, demo)
	defer origin.stop(t)
	from, err := name.NewTag(origin.Host + "/hello:latest")
	if err != nil {
		t.Fatal(err)
	}
	index, err := remote.Index(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(u.ref(t, "library/hello", "latest"), index); err != nil {
		t.Fatal(err)
	}
	return u.back.image(t, "library/hello", "latest", accepts["oci"]...)
}

// answerOf is what a handler answers, kept.
func answerOf(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	a := httptest.NewRecorder()
	h.ServeHTTP(a, r)
	return a
}

func replay(w http.ResponseWriter, a *httptest.ResponseRecorder) {
	copyHeader(w, a)
	w.WriteHeader(a.Code)
	_, _ = w.Write(a.Body.Bytes()) // an error means that the client left
}

func copyHeader(w http.ResponseWriter, a *httptest.ResponseRecorder) {
	for k, v := range a.Result().Header {
		w.Header()[k] = slices.Clone(v)
	}
}
