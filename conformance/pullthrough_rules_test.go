package conformance_test

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// configured are options for a server that a configuration file tells of its mirrors.
func configured(t *testing.T, mirrors string) options {
	t.Helper()
	file := filepath.Join(t.TempDir(), "nixreg.yaml")
	if err := os.WriteFile(file, []byte("demo: true\nmirrors:\n"+mirrors), 0o600); err != nil {
		t.Fatal(err)
	}
	return options{Args: []string{"--config", file}}
}

// What is not to be mirrored is refused, and the upstream not asked for it.
func TestPullThroughAllowAndDeny(t *testing.T) {
	u := newUpstream(t)
	i := shape{seed: 40, layers: 1, size: 1000, tags: "v1"}
	for _, repo := range []string{"team/app", "team/secret/app", "other/app"} {
		i.repository = repo
		u.push(t, i)
	}
	s := start(t, configured(t, fmt.Sprintf("  lab:\n    url: %s\n    allow: [team/**]\n    deny: [team/secret/*]\n", u.URL)))
	s.image(t, "lab/team/app", "v1")
	u.forget()
	for _, repo := range []string{"team/secret/app", "other/app"} {
		digest := "sha256:" + strings.Repeat("00", 32)
		for _, what := range []string{"manifests/v1", "manifests/" + digest, "blobs/" + digest, "tags/list", "referrers/" + digest} {
			if code, text := s.code(t, "/v2/lab/"+repo+"/"+what); code != http.StatusForbidden || text != "DENIED" {
				t.Errorf("%s of %s: %d %s, want 403 DENIED", what, repo, code, text)
			}
		}
		s.namespaced(t, repo, "manifests/v1", "lab", http.StatusForbidden)
	}
	if n := u.count(""); n != 0 {
		t.Errorf("the upstream was asked %d times for what is not mirrored", n)
	}
}

// That a blob is here for one repository says nothing about another.
func TestPullThroughRepositoriesArePrivate(t *testing.T) {
	u := newUpstream(t)
	want := u.push(t, shape{seed: 41, layers: 1, size: 1000, repository: "secret", tags: "v1"})
	u.spoil("/v2/open/", always, status(http.StatusNotFound))
	s := start(t, through(u))
	s.image(t, "lab/secret", "v1")
	for _, path := range []string{"manifests/" + want[0].Digest, "blobs/" + want[0].Layers[0].Digest, "blobs/" + want[0].Config.Digest} {
		if code, _ := s.code(t, "/v2/lab/open/"+path); code != http.StatusNotFound {
			t.Errorf("%s of another repository: %d, want 404", path, code)
		}
	}
}

// A redirect leads to no address that an upstream on this one has no business at, not even by way of a proxy.
func TestPullThroughRedirectsToSpecialAddresses(t *testing.T) {
	u := newUpstream(t)
	elsewhere := []string{"http://169.254.169.254", "http://[fd00:ec2::254]", "http://0.0.0.0", "http://2852039166"}
	want := u.push(t, shape{seed: 42, layers: len(elsewhere), size: 1000, repository: "app", tags: "v1"})
	proxy := newWitness(t, "127.0.0.1")
	o := through(u)
	o.Env = []string{"HTTP_PROXY=" + proxy.URL, "http_proxy=" + proxy.URL}
	s := start(t, o)
	s.manifest(t, "lab/app", "v1")
	for n, to := range elsewhere {
		s.refusesRedirect(t, u, want[0].Layers[n], to)
	}
	if n := proxy.asked.Load(); n != 0 {
		t.Errorf("the proxy was asked %d times for what nobody may go to", n)
	}
}

// From this machine's own address a redirect leads to others of its own, but not to those of its network, nor the other
// way round.
func TestPullThroughRedirectsBetweenNetworks(t *testing.T) {
	near, far := newUpstream(t), newUpstream(t)
	i := shape{seed: 43, layers: 2, size: 1000, repository: "app", tags: "v1"}
	want := near.push(t, i)
	far.push(t, i)
	private := privateAddress(t)
	inside, own := newWitness(t, private), newWitness(t, "127.0.0.1")
	beyond := serveOn(t, private, far) // an upstream in the network
	s := start(t, options{Args: []string{"--demo", "--mirror", "near=" + near.URL, "--mirror", "far=" + beyond}})

	layer := want[0].Layers[0]
	s.manifest(t, "near/app", "v1")
	s.manifest(t, "far/app", "v1")
	near.spoil("GET /v2/app/blobs/", always, redirect(inside.URL))
	far.spoil("GET /v2/app/blobs/", always, redirect(own.URL))
	for _, repo := range []string{"near/app", "far/app"} {
		if err := s.fails(t.Context(), "/v2/"+repo+"/blobs/"+layer.Digest, http.StatusBadGateway); err != nil {
			t.Error(err)
		}
	}
	if inside.asked.Load()+own.asked.Load() != 0 {
		t.Error("a redirect led from one network into another")
	}
	near.heal()
	near.spoil("GET /v2/app/blobs/", always, redirect(near.back.URL))
	s.blob(t, "near/app", want[0].Layers[1])
}

// refusesRedirect lets the upstream redirect for a layer, which then cannot be had.
func (s *server) refusesRedirect(t *testing.T, u *upstream, layer descriptor, to string) {
	t.Helper()
	u.spoil("GET /v2/app/blobs/"+layer.Digest, always, redirect(to))
	if err := s.fails(t.Context(), "/v2/lab/app/blobs/"+layer.Digest, http.StatusBadGateway); err != nil {
		t.Errorf("redirect to %s: %v", to, err)
	}
}

// witness is a server that nobody should come to.
type witness struct {
	URL    string
	asked  atomic.Int64
	secret atomic.Value // what came as Authorization last
}

func newWitness(t *testing.T, address string) *witness {
	t.Helper()
	w := new(witness)
	w.URL = serveOn(t, address, w)
	return w
}

// ServeHTTP has nothing for anybody.
func (w *witness) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	w.asked.Add(1)
	w.secret.Store(r.Header.Get("Authorization"))
	http.NotFound(rw, r)
}

// serveOn serves on any port of an address.
func serveOn(t *testing.T, address string, h http.Handler) (url string) {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(h)
	s.Listener.Close()
	s.Listener = l
	s.Start()
	t.Cleanup(s.Close)
	return s.URL
}

// privateAddress is one of this machine's in a private network. Without one the test is skipped.
func privateAddress(t *testing.T) string {
	t.Helper()
	all, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok && n.IP.IsPrivate() {
			return n.IP.String()
		}
	}
	t.Skip("this machine has no address in a private network")
	return ""
}
