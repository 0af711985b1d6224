package export

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/nixreg/nixreg/internal/oci"
)

// target is a registry that knows which repository has a blob, and counts what it is sent.
type target struct {
	http.Handler
	host string

	mu      sync.Mutex
	blobs   map[string]bool // REPO DIGEST
	sent    int             // blobs
	mounted int
}

func newTarget(t *testing.T) *target {
	t.Helper()
	r := &target{Handler: registry.New(registry.Logger(log.New(io.Discard, "", 0))), blobs: make(map[string]bool)}
	s := httptest.NewServer(r)
	t.Cleanup(s.Close)
	r.host = strings.TrimPrefix(s.URL, "http://")
	return r
}

var blobPath = regexp.MustCompile(`^/v2/(.*)/blobs/(uploads/.*|sha256:.*)$`)

func (r *target) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	m := blobPath.FindStringSubmatch(req.URL.Path)
	if m == nil {
		r.Handler.ServeHTTP(w, req)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	q := req.URL.Query()
	switch {
	case req.Method == http.MethodHead && !r.blobs[m[1]+" "+m[2]]:
		w.WriteHeader(http.StatusNotFound)
		return
	case req.Method == http.MethodPost && r.blobs[q.Get("from")+" "+q.Get("mount")]:
		r.blobs[m[1]+" "+q.Get("mount")] = true
		r.mounted++
		w.WriteHeader(http.StatusCreated)
		return
	case req.Method == http.MethodPut:
		r.blobs[m[1]+" "+q.Get("digest")] = true
		r.sent++
	}
	r.Handler.ServeHTTP(w, req)
}

// counts are the blobs that were sent and mounted since the last call.
func (r *target) counts() (sent, mounted int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	sent, mounted, r.sent, r.mounted = r.sent, r.mounted, 0, 0
	return sent, mounted
}

// digest is what the registry has under a name.
func (r *target) digest(t *testing.T, repoTag string) v1.Hash {
	t.Helper()
	tag, err := name.NewTag(r.host + "/" + repoTag)
	if err != nil {
		t.Fatal(err)
	}
	d, err := remote.Head(tag)
	if err != nil {
		t.Fatal(err)
	}
	return d.Digest
}

func (r *target) at(repoTag string, mountFrom ...string) Target {
	return Target{Name: r.host + "/" + repoTag, MountFrom: mountFrom, Keychain: authn.NewMultiKeychain(), UserAgent: "test"}
}

func TestPush(t *testing.T) {
	m := newMemory()
	img := open(t, m, m.add(t, "amd64", plain("a"), gzipped(t, "b"), zstded(t, "c"), plain("a")))
	r := newTarget(t)
	var done, total int64
	if err := img.Push(t.Context(), r.at("app:1"), func(d, of int64) { done, total = d, of }); err != nil {
		t.Fatal(err)
	}
	if got := r.digest(t, "app:1"); got != img.Digest() {
		t.Errorf("there it is %s, not %s", got, img.Digest())
	}
	if sent, _ := r.counts(); sent != 4 || done != total || total == 0 {
		t.Errorf("%d blobs were sent, %d of %d bytes", sent, done, total)
	}
	for _, tag := range []string{"app:1", "app:2"} {
		if err := img.Push(t.Context(), r.at(tag), nil); err != nil {
			t.Fatal(err)
		}
		if sent, mounted := r.counts(); sent+mounted != 0 || r.digest(t, tag) != img.Digest() {
			t.Errorf("%s: again, %d blobs were sent, and %d mounted", tag, sent, mounted)
		}
	}
}

func TestPushOfAnIndex(t *testing.T) {
	m, top := twoPlatforms(t)
	r := newTarget(t)
	if err := open(t, m, top).Push(t.Context(), r.at("app:1"), nil); err != nil {
		t.Fatal(err)
	}
	if got := r.digest(t, "app:1"); got != top.Digest {
		t.Errorf("there it is %s, not %s", got, top.Digest)
	}
	if sent, _ := r.counts(); sent != len(m.blobs) {
		t.Errorf("%d blobs were sent, not %d", sent, len(m.blobs))
	}
}

func TestPushMounts(t *testing.T) {
	m := newMemory()
	first, second := open(t, m, m.add(t, "amd64", plain("a"))), open(t, m, m.add(t, "amd64", plain("b")))
	both := open(t, m, m.add(t, "amd64", plain("a"), plain("b"), plain("c")))
	r := newTarget(t)
	for repo, img := range map[string]*Image{"one:1": first, "two:1": second} {
		if err := img.Push(t.Context(), r.at(repo), nil); err != nil {
			t.Fatal(err)
		}
	}
	r.counts()
	for i, c := range []struct {
		from          []string
		sent, mounted int
	}{
		{nil, 4, 0}, {[]string{"one"}, 3, 1}, {[]string{"none"}, 4, 0}, {[]string{"none", "two", "one"}, 2, 2},
	} {
		if err := both.Push(t.Context(), r.at(fmt.Sprintf("app%d:1", i), c.from...), nil); err != nil {
			t.Fatal(err)
		}
		if sent, mounted := r.counts(); sent != c.sent || mounted != c.mounted {
			t.Errorf("from %v: %d blobs were sent and %d mounted, want %d and %d", c.from, sent, mounted, c.sent, c.mounted)
		}
	}
	if err := both.Push(t.Context(), r.at("app:1", "A B"), nil); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("no repository: %v", err)
	}
}

// What a registry says goes to a terminal: it is one line of printable text.
func TestPushThatIsRefused(t *testing.T) {
	for status, denied := range map[int]bool{http.StatusUnauthorized: true, http.StatusForbidden: true, http.StatusNotFound: false} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/v2/" {
				return
			}
			w.WriteHeader(status)
			fmt.Fprintf(w, `{"errors":[{"code":"DENIED","message":"no\n\u001b[2J%s"}]}`, strings.Repeat("x", 1000))
		}))
		defer s.Close()
		m := newMemory()
		img := open(t, m, m.add(t, "amd64", plain("a")))
		err := img.Push(t.Context(), Target{Name: strings.TrimPrefix(s.URL, "http://") + "/a:1", Keychain: authn.NewMultiKeychain()}, nil)
		if err == nil || errors.Is(err, fs.ErrPermission) != denied {
			t.Fatalf("%d: %v", status, err)
		}
		if text := err.Error(); strings.ContainsAny(text, "\n\x1b") || len(text) > 700 {
			t.Errorf("%d: error is %q", status, text)
		}
	}
}

func TestPushOverTLS(t *testing.T) {
	s := httptest.NewUnstartedServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	defer s.Close()
	m := newMemory()
	img := open(t, m, m.add(t, "amd64", plain("a")))
	to := Target{Name: strings.TrimPrefix(s.URL, "https://") + "/a:1", Keychain: authn.NewMultiKeychain()}
	if err := img.Push(t.Context(), to, nil); err == nil || !strings.Contains(err.Error(), "x509") && !strings.Contains(err.Error(), "HTTPS") {
		t.Errorf("unknown certificate: %v", err)
	}
	to.SkipVerify = true
	if err := img.Push(t.Context(), to, nil); err != nil {
		t.Error(err)
	}
}

// Nothing, and no password, goes to another machine over plain HTTP unless that was asked for.
func TestPushOverPlainHTTP(t *testing.T) {
	r := newTarget(t)
	m := newMemory()
	img := open(t, m, m.add(t, "amd64", plain("a")))
	var said atomic.Int64
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { said.Add(1) }))
	defer elsewhere.Close()
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		to := r.host
		if strings.HasPrefix(address, "elsewhere.test:") {
			to = strings.TrimPrefix(elsewhere.URL, "http://")
		}
		return new(net.Dialer).DialContext(ctx, network, to)
	}
	for host, plain := range map[string]bool{
		"localhost:5000": true, "127.0.0.1:5000": true, "[::1]:5000": true, "127.1.2.3:5000": true,
		"reg.localhost:5000": false, "10.1.2.3:5000": false, "192.168.1.1:5000": false, "registry.local:5000": false, "registry.example:5000": false,
	} {
		to := Target{Name: host + "/a:1", Keychain: authn.NewMultiKeychain(), dial: dial}
		if err := img.Push(t.Context(), to, nil); (err == nil) != plain || !plain && !strings.Contains(err.Error(), "HTTPS") {
			t.Errorf("%s: %v", host, err)
		}
		to.SkipVerify = true
		if err := img.Push(t.Context(), to, nil); err != nil {
			t.Errorf("%s: %v", host, err)
		}
	}
	realm := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("WWW-Authenticate", `Bearer realm="http://elsewhere.test:80/token"`)
		w.WriteHeader(http.StatusUnauthorized)
	}))
	defer realm.Close()
	r.host = strings.TrimPrefix(realm.URL, "http://")
	if err := img.Push(t.Context(), Target{Name: r.host + "/a:1", Keychain: authn.NewMultiKeychain(), dial: dial}, nil); err == nil || said.Load() > 0 {
		t.Errorf("the realm was asked %d times: %v", said.Load(), err)
	}
}

// endless is a blob whose bytes come until ctx ends.
type endless struct {
	oci.Bytes
	begun func()
}

func (e endless) WriteRange(ctx context.Context, w io.Writer, _, _ int64) error {
	e.begun()
	<-ctx.Done()
	return ctx.Err()
}

type endlessLayers struct {
	*memory
	begun func()
}

func (e endlessLayers) Blob(_ context.Context, d v1.Hash) (Blob, error) {
	return endless{e.blobs[d], e.begun}, nil
}

func TestPushIsInterrupted(t *testing.T) {
	m := newMemory()
	ctx, cancel := context.WithCancel(t.Context())
	img, err := OpenAll(ctx, endlessLayers{m, cancel}, m.add(t, "amd64", plain("a")))
	if err != nil {
		t.Fatal(err)
	}
	if err := img.Push(ctx, newTarget(t).at("a:1"), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
}

// slowKeychain is one that tells nothing before it may.
type slowKeychain struct{ asked, tell func() }

func (k slowKeychain) Resolve(authn.Resource) (authn.Authenticator, error) {
	k.asked()
	k.tell()
	return authn.Anonymous, nil
}

// A program that knows credentials, and hangs, does not keep a push from ending.
func TestPushIsInterruptedBeforeCredentials(t *testing.T) {
	m := newMemory()
	img := open(t, m, m.add(t, "amd64", plain("a")))
	for _, from := range [][]string{nil, {"one", "two"}} {
		ctx, cancel := context.WithCancel(t.Context())
		told := make(chan struct{})
		to := newTarget(t).at("a:1", from...)
		to.Keychain = slowKeychain{cancel, func() { <-told }}
		if err := img.Push(ctx, to, nil); !errors.Is(err, context.Canceled) {
			t.Errorf("error is %v", err)
		}
		close(told)
	}
}
