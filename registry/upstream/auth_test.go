package upstream

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/nixreg/nixreg/internal/cases"
)

// guarded serves documents to those who have the authorization that want returns, and challenges the others.
func guarded(challenge string, want func() string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != want() {
			status(401, `{"errors":[{"code":"UNAUTHORIZED"}]}`, "WWW-Authenticate", challenge)(w, r)
			return
		}
		documents(document1)(w, r)
	}
}

func always(s string) func() string { return func() string { return s } }

func TestBasic(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *network) {
		h := n.Serve("r.lab.test:443", "9.9.9.9", guarded(`Basic realm="x"`, always(aliceBasic)))
		k := alice("r.lab.test")
		r := n.open(Options{Name: "r.lab.test", Keychain: k})
		for range 2 {
			if _, err := r.Manifest(t.Context(), "a", "b"); err != nil {
				t.Fatal(err)
			}
		}
		want := []string{"GET /v2/a/manifests/b", "GET /v2/a/manifests/b " + aliceBasic, "GET /v2/a/manifests/b " + aliceBasic}
		if got := h.Paths(); !slices.Equal(got, want) || len(k.asked) != 1 {
			t.Errorf("%q, keychain asked %d times", got, len(k.asked))
		}
	})
}

// Refused credentials are asked for again, but not at once.
func TestRefusedCredentials(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *network) {
		n.Serve("r.lab.test:443", "9.9.9.9", guarded(`Basic realm="x"`, always("Basic Ym9iOm5ldw==")))
		k := alice("r.lab.test")
		r := n.open(Options{Name: "r.lab.test", Keychain: k})
		for range 3 {
			if _, err := r.Manifest(t.Context(), "a", "b"); !errors.Is(err, fs.ErrPermission) || len(k.asked) != 1 {
				t.Fatalf("%v, keychain asked %d times", err, len(k.asked))
			}
		}
		k.creds["r.lab.test"] = authn.AuthConfig{Username: "bob", Password: "new"}
		time.Sleep(credentialsAge)
		if _, err := r.Manifest(t.Context(), "a", "b"); err != nil {
			t.Error(err)
		}
	})
}

// A tokenServer counts, and gives tokens t1, t2 and so on; valid is the last one.
type tokenServer struct {
	mu     sync.Mutex
	given  int
	scopes []string
	auth   []string
	expiry string // of the answer, as JSON
}

func (s *tokenServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.given++
	s.scopes = append(s.scopes, r.URL.Query()["scope"]...)
	s.auth = append(s.auth, r.Header.Get("Authorization"))
	fmt.Fprintf(w, `{"token":"t%d"%s}`, s.given, s.expiry)
}

func (s *tokenServer) valid() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return fmt.Sprintf("Bearer t%d", s.given)
}

const labChallenge = `Bearer realm="https://auth.lab.test/token",service="lab"`

func TestBearer(t *testing.T) {
	for _, tc := range []struct {
		expiry string
		life   time.Duration // in which the token is used again
	}{{"", 54 * time.Second}, {`,"expires_in":300`, 270 * time.Second}, {`,"expires_in":-5`, 54 * time.Second}, {`,"expires_in":9000000000000000000`, maxLife * 9 / 10}} {
		inNetwork(t, func(t *testing.T, n *network) {
			s := &tokenServer{expiry: tc.expiry}
			n.Serve("auth.lab.test:443", "9.9.9.8", s.ServeHTTP)
			h := n.Serve("r.lab.test:443", "9.9.9.9", guarded(labChallenge, s.valid))
			r := n.open(Options{Name: "r.lab.test", Keychain: alice("r.lab.test")})
			ask := func(repo string, given int) {
				t.Helper()
				if _, err := r.Manifest(t.Context(), repo, "b"); err != nil || s.given != given {
					t.Errorf("%s %s: %v, %d tokens; want %d", tc.expiry, repo, err, s.given, given)
				}
			}
			ask("a", 1)
			ask("a", 1)
			time.Sleep(tc.life - time.Nanosecond)
			ask("a", 1)
			time.Sleep(time.Nanosecond)
			ask("a", 2)
			ask("c", 3)
			if want := []string{"repository:a:pull", "repository:a:pull", "repository:c:pull"}; !slices.Equal(s.scopes, want) {
				t.Errorf("scopes %q", s.scopes)
			}
			if s.auth[0] != aliceBasic || slices.ContainsFunc(h.Paths(), func(p string) bool { return strings.Contains(p, "Basic") }) {
				t.Errorf("token server got %q, registry %q", s.auth, h.Paths())
			}
		})
	}
}

// A token that is no longer taken is replaced, once.
func TestRefusedToken(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *network) {
		s := &tokenServer{}
		n.Serve("auth.lab.test:443", "9.9.9.8", s.ServeHTTP)
		want := "Bearer t1"
		n.Serve("r.lab.test:443", "9.9.9.9", guarded(labChallenge, func() string { return want }))
		r := n.open(Options{Name: "r.lab.test"})
		for i, w := range []string{"Bearer t1", "Bearer t2", "never"} {
			want = w
			_, err := r.Manifest(t.Context(), "a", "b")
			if (err == nil) != (i < 2) || err != nil && !errors.Is(err, fs.ErrPermission) || s.given != i+1 {
				t.Errorf("%s: %v, %d tokens", w, err, s.given)
			}
		}
	})
}

// All who need the same token wait for one exchange. One who leaves takes nothing along.
func TestOneExchange(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *network) {
		s := &tokenServer{}
		asked, hold := make(chan struct{}, 10), make(chan struct{})
		n.Serve("auth.lab.test:443", "9.9.9.8", func(w http.ResponseWriter, r *http.Request) {
			asked <- struct{}{}
			select {
			case <-hold:
				s.ServeHTTP(w, r)
			case <-r.Context().Done():
			}
		})
		n.Serve("r.lab.test:443", "9.9.9.9", guarded(labChallenge, func() string { return "Bearer t1" }))
		r := n.open(Options{Name: "r.lab.test"})
		ctx, leave := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := r.Manifest(ctx, "a", "b"); !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
		<-asked
		for range 20 {
			wg.Go(func() {
				if _, err := r.Manifest(t.Context(), "a", "b"); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		leave()
		synctest.Wait()
		close(hold)
		wg.Wait()
		if len(asked) != 0 {
			t.Errorf("%d exchanges more", len(asked))
		}
	})
}

func TestTokenServerErrors(t *testing.T) {
	for _, tc := range []struct {
		name    string
		handler http.HandlerFunc
		status  int
		text    string
	}{
		{"401", status(401, `{"details":"incorrect username or password"}`), 401, "r.lab.test: token for a: 401 Unauthorized: incorrect username or password (from auth.lab.test:443)"},
		{"429", status(429, "", "Retry-After", "9"), 429, "429"},
		{"no token", status(200, `{"refresh_token":"hush"}`), 200, "no token"},
		{"no JSON", status(200, `hush`), 200, "no token"},
		{"endless", status(200, strings.Repeat("x", 1<<20)), 200, "no token"},
		{"503", status(503, ""), 503, "503"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inNetwork(t, func(t *testing.T, n *network) {
				n.Serve("auth.lab.test:443", "9.9.9.8", tc.handler)
				n.Serve("r.lab.test:443", "9.9.9.9", guarded(labChallenge, always("never")))
				_, err := n.open(Options{Name: "r.lab.test"}).Manifest(t.Context(), "a", "b")
				var e *Error
				if !errors.As(err, &e) || e.Status != tc.status || !strings.Contains(err.Error(), tc.text) || strings.Contains(err.Error(), "hush") {
					t.Errorf("%v; want %d, %q", err, tc.status, tc.text)
				}
				if e == nil || !e.TokenServer || e.Subject != "token for a" || tc.status == 429 && e.RetryAfter != 9*time.Second {
					t.Errorf("%+v is not said to be the token server's", e)
				}
			})
		})
	}
}

// An identity token is exchanged by OAuth 2, and by GET where that is unknown.
func TestIdentityToken(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *network) {
		old := false
		auth := n.Serve("auth.lab.test:443", "9.9.9.8", func(w http.ResponseWriter, r *http.Request) {
			switch {
			case r.Method == http.MethodPost && old:
				w.WriteHeader(404)
			case r.Method == http.MethodPost && r.FormValue("refresh_token") == "id", r.Method == http.MethodGet:
				fmt.Fprint(w, `{"access_token":"t"}`)
			default:
				w.WriteHeader(401)
			}
		})
		n.Serve("r.lab.test:443", "9.9.9.9", guarded(labChallenge, always("Bearer t")))
		for _, old = range []bool{false, true} {
			k := &keychain{creds: map[string]authn.AuthConfig{"r.lab.test": {IdentityToken: "id"}}}
			if _, err := n.open(Options{Name: "r.lab.test", Keychain: k}).Manifest(t.Context(), "a", "b"); err != nil {
				t.Error(old, err)
			}
		}
		if got := auth.Paths(); len(got) != 3 {
			t.Error(got)
		}
	})
}

// Credentials go to a token server of the registry's own, and nowhere else.
func TestWhoGetsCredentials(t *testing.T) {
	for _, tc := range []struct {
		name, url, realm string
		server           string
		gets             bool
	}{
		{"r.lab.test", "", "https://auth.lab.test/token", "auth.lab.test:443", true},
		{"r.lab.test", "", "https://r.lab.test/token", "r.lab.test:443", true},
		{"docker.io", "", "https://auth.docker.io/token", "auth.docker.io:443", true},
		{"r.lab.test", "", "https://auth.cdn.test/token", "auth.cdn.test:443", false},
		{"lab", "http://r.lab.test:5000", "http://auth.lab.test:5001/token", "auth.lab.test:5001", true},
		{"lab", "http://r.lab.test:5000", "http://auth.cdn.test:5001/token", "auth.cdn.test:5001", false},
		{"lab", "http://127.0.0.1:5000", "http://127.0.0.1:5001/token", "127.0.0.1:5001", true},
		{"lab", "http://127.0.0.1:5000", "http://127.0.0.2:5001/token", "127.0.0.2:5001", false},
	} {
		t.Run(tc.realm, func(t *testing.T) {
			inNetwork(t, func(t *testing.T, n *network) {
				r := n.open(Options{Name: tc.name, URL: tc.url, Keychain: alice("r.lab.test", "r.lab.test:5000", "index.docker.io", "127.0.0.1:5000")})
				ip := "9.9.9.9"
				if strings.Contains(tc.url, "127") {
					ip = "127.0.0.1"
				}
				s := &tokenServer{}
				registry := guarded(`Bearer realm="`+tc.realm+`"`, s.valid)
				n.Serve(originHost(r), ip, func(w http.ResponseWriter, q *http.Request) {
					if q.URL.Path == "/token" {
						s.ServeHTTP(w, q)
						return
					}
					registry(w, q)
				})
				if tc.server != originHost(r) {
					n.Serve(tc.server, ip, s.ServeHTTP)
				}
				for _, repo := range []string{"a", "b"} {
					if _, err := r.Manifest(t.Context(), repo, "x"); err != nil {
						t.Fatal(err)
					}
				}
				if got := s.auth[0] == aliceBasic; got != tc.gets || s.auth[0] != s.auth[1] {
					t.Errorf("token server got %q", s.auth)
				}
				if warned := strings.Count(n.Logged(), "someone else's"); warned == 1 == tc.gets {
					t.Errorf("warned %d times", warned)
				}
			})
		})
	}
}

// A secret in the body of a request is not sent on.
func TestRedirectedIdentityToken(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *network) {
		n.Serve("auth.lab.test:443", "9.9.9.8", redirected(func(*http.Request) string { return "https://blobs.cdn.test/data" }))
		other := n.Serve("blobs.cdn.test:443", "9.9.9.7", documents(document1))
		n.Serve("r.lab.test:443", "9.9.9.9", guarded(labChallenge, always("never")))
		k := &keychain{creds: map[string]authn.AuthConfig{"r.lab.test": {IdentityToken: "id"}}}
		_, err := n.open(Options{Name: "r.lab.test", Keychain: k}).Manifest(t.Context(), "a", "b")
		if err == nil || !strings.Contains(err.Error(), "redirects a POST") || len(other.Requests()) != 0 {
			t.Errorf("%v, the other was asked for %q", err, other.Paths())
		}
	})
}

// A challenge of a host that the registry leads to is not the registry's.
func TestChallengeFromElsewhere(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *network) {
		h := n.Serve("r.lab.test:443", "9.9.9.9", redirected(func(*http.Request) string { return "https://blobs.cdn.test/x" }))
		n.Serve("blobs.cdn.test:443", "9.9.9.7", guarded(`Basic realm="x"`, always("never")))
		r := n.open(Options{Name: "r.lab.test", Keychain: alice("r.lab.test")})
		for range 2 {
			if _, err := r.Manifest(t.Context(), "a", "b"); !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "blobs.cdn.test") {
				t.Error(err)
			}
		}
		if got := h.Paths(); !slices.Equal(got, []string{"GET /v2/a/manifests/b", "GET /v2/a/manifests/b"}) {
			t.Errorf("%q", got)
		}
	})
}

func TestTrust(t *testing.T) {
	for _, tc := range []struct {
		url, realm string
		want       bool
	}{
		{"https://r.lab.test", "https://auth.lab.test", true}, {"https://r.lab.test", "http://auth.lab.test", false},
		{"http://r.lab.test", "http://auth.lab.test", true}, {"http://r.lab.test", "https://auth.cdn.test", false},
		{"https://registry.hub.docker.com", "https://auth.docker.io", true}, {"https://registry.hub.docker.com", "https://auth.docker.com", false},
	} {
		r, err := New(Options{Name: "lab", URL: tc.url})
		if err != nil {
			t.Fatal(err)
		}
		realm, err := url.Parse(tc.realm)
		if err != nil || r.auth.trusts(realm) != tc.want {
			t.Errorf("%+v: %v", tc, err)
		}
	}
}

func TestKeychainTarget(t *testing.T) {
	for _, tc := range [][3]string{
		{"docker.io", "", "index.docker.io"},
		{"docker.io", "https://registry-1.docker.io", "index.docker.io"},
		{"docker.io", "https://registry.hub.docker.com", "index.docker.io"},
		{"hub", "https://registry-1.docker.io", "index.docker.io"},
		{"hub", "https://Index.docker.io:443", "index.docker.io"},
		{"registry-1.docker.io", "", "index.docker.io"},
		{"hub", "https://auth.docker.io", "auth.docker.io"},
		{"docker.io", "https://mirror.gcr.io", "mirror.gcr.io"},
		{"docker.io", "http://127.0.0.1:5000", "127.0.0.1:5000"},
		{"Quay.io", "", "quay.io"},
		{"lab", "http://10.0.0.1:5000", "10.0.0.1:5000"},
		{"127.0.0.1:5001", "http://127.0.0.1:5001", "127.0.0.1:5001"},
	} {
		r, err := New(Options{Name: tc[0], URL: tc[1]})
		if err != nil {
			t.Fatal(err)
		}
		if got := r.auth.credentials.target.RegistryStr(); got != tc[2] {
			t.Errorf("%q: %s", tc, got)
		}
	}
}

// TestCaseR1ExpiredCredentials: credentials that are refused, by the registry or by its token server, with 401 or 403, are
// asked for again, at most once a minute, and the request is sent again with new ones.
func TestCaseR1ExpiredCredentials(t *testing.T) {
	cases.Open(t, "R1")
	const bobBasic = "Basic Ym9iOm5ldw=="
	for name, tc := range map[string]struct {
		token   bool
		refusal int
	}{
		"401": {false, 401}, // as today
		"403": {false, 403}, "401 of the token server": {true, 401}, "403 of the token server": {true, 403},
	} {
		t.Run(name, func(t *testing.T) {
			inNetwork(t, func(t *testing.T, n *network) {
				taken := aliceBasic
				login := func(w http.ResponseWriter, r *http.Request, then http.HandlerFunc) {
					switch given := r.Header.Get("Authorization"); {
					case given == taken:
						then(w, r)
					case given == "" || tc.refusal == 401:
						status(401, "", "WWW-Authenticate", `Basic realm="x"`)(w, r)
					default:
						w.WriteHeader(tc.refusal)
					}
				}
				s := new(tokenServer)
				n.Serve("auth.lab.test:443", "9.9.9.8", func(w http.ResponseWriter, r *http.Request) { login(w, r, s.ServeHTTP) })
				n.Serve("r.lab.test:443", "9.9.9.9", func(w http.ResponseWriter, r *http.Request) {
					if tc.token {
						guarded(labChallenge, s.valid)(w, r)
						return
					}
					login(w, r, documents(document1))
				})
				k := alice("r.lab.test")
				r := n.open(Options{Name: "r.lab.test", Keychain: k})
				if _, err := r.Manifest(t.Context(), "a", "b"); err != nil {
					t.Fatal(err)
				}
				taken = bobBasic
				time.Sleep(2 * credentialsAge)
				for range 3 {
					if _, err := r.Manifest(t.Context(), "a", "b"); !errors.Is(err, fs.ErrPermission) || len(k.asked) > 2 {
						t.Errorf("with credentials of old: %v, keychain asked %d times in a minute", err, len(k.asked)-1)
					}
				}
				k.creds["r.lab.test"] = authn.AuthConfig{Username: "bob", Password: "new"}
				time.Sleep(credentialsAge)
				if _, err := r.Manifest(t.Context(), "a", "b"); err != nil {
					t.Errorf("with new credentials: %v, keychain asked %d times", err, len(k.asked))
				}
			})
		})
	}
}

// TestCaseR2ChallengeOfAnotherRegistry: a registry that leads to another one is followed there: what that one asks for is
// answered, without anybody's credentials, and the registry itself gets its own.
func TestCaseR2ChallengeOfAnotherRegistry(t *testing.T) {
	cases.Open(t, "R2")
	const repo = "a/b"
	for name, tc := range map[string]struct{ realm, under, own string }{
		"no challenge": {"", "", ""}, // as today
		"at home":      {"https://registry.cdn.test/token", "", ""},
		"token server": {"https://auth.cdn.test/token", "", ""},
		"another name": {"https://registry.cdn.test/token", "org/", ""},
		"own login":    {"https://registry.cdn.test/token", "", `Basic realm="x"`},
	} {
		t.Run(name, func(t *testing.T) {
			inNetwork(t, func(t *testing.T, n *network) {
				token := func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Query().Get("scope") != "repository:"+tc.under+repo+":pull" {
						w.WriteHeader(403)
						return
					}
					fmt.Fprint(w, `{"token":"T"}`)
				}
				auth := n.Serve("auth.cdn.test:443", "9.9.9.7", token)
				other := n.Serve("registry.cdn.test:443", "9.9.9.6", func(w http.ResponseWriter, r *http.Request) {
					switch {
					case r.URL.Path == "/token":
						token(w, r)
					case !strings.HasPrefix(r.URL.Path, "/v2/"+tc.under+repo+"/"):
						w.WriteHeader(404)
					case tc.realm != "":
						guarded(fmt.Sprintf(`Bearer realm=%q,service="s",scope="repository:%s%s:pull"`, tc.realm, tc.under, repo), always("Bearer T"))(w, r)
					default:
						documents(document1)(w, r)
					}
				})
				lead := redirected(func(r *http.Request) string {
					return "https://registry.cdn.test" + strings.Replace(r.URL.Path, "/v2/", "/v2/"+tc.under, 1)
				})
				n.Serve("r.lab.test:443", "9.9.9.9", func(w http.ResponseWriter, r *http.Request) {
					if tc.own != "" && r.Header.Get("Authorization") != aliceBasic {
						status(401, "", "WWW-Authenticate", tc.own)(w, r)
						return
					}
					lead(w, r)
				})
				r := n.open(Options{Name: "r.lab.test", Keychain: alice("r.lab.test", "registry.cdn.test", "auth.cdn.test")})
				for range 2 {
					if _, err := r.Manifest(t.Context(), repo, "latest"); err != nil {
						t.Error(err)
					}
					if _, err := r.Head(t.Context(), repo, "latest"); err != nil {
						t.Errorf("HEAD: %v", err)
					}
				}
				if _, err := r.Blob(t.Context(), repo, hashOf(document1)); err != nil {
					t.Errorf("blob: %v", err)
				}
				for _, p := range append(auth.Paths(), other.Paths()...) {
					if strings.Contains(p, "Basic") {
						t.Errorf("credentials went elsewhere: %s", p)
					}
				}
			})
		})
	}
}

// TestCaseR5RealmOfARepository: the token server of one repository says nothing about another one's.
func TestCaseR5RealmOfARepository(t *testing.T) {
	cases.Open(t, "R5")
	inNetwork(t, func(t *testing.T, n *network) {
		n.Serve("r.lab.test:443", "9.9.9.9", func(w http.ResponseWriter, r *http.Request) {
			if key, ok := strings.CutPrefix(r.URL.Path, "/token/"); ok {
				if !strings.HasPrefix(r.URL.Query().Get("scope"), "repository:"+key+"/") {
					w.WriteHeader(403)
					return
				}
				fmt.Fprintf(w, `{"token":%q}`, key)
				return
			}
			key := strings.Split(r.URL.Path, "/")[2]
			if key == "basic" {
				guarded(`Basic realm="x"`, always(aliceBasic))(w, r)
				return
			}
			guarded(`Bearer realm="https://r.lab.test/token/`+key+`",service="`+key+`"`, always("Bearer "+key))(w, r)
		})
		r := n.open(Options{Name: "r.lab.test", Keychain: alice("r.lab.test")})
		for _, repo := range []string{"x/app", "y/app", "x/app", "x/other", "basic/app", "y/app"} {
			if _, err := r.Manifest(t.Context(), repo, "latest"); err != nil {
				t.Errorf("%s: %v", repo, err)
			}
			time.Sleep(credentialsAge) // tokens are over then
		}
	})
}
