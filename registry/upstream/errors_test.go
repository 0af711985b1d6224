package upstream

import (
	"errors"
	"io/fs"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nixreg/nixreg/internal/fetch/memnet"
	"github.com/nixreg/nixreg/internal/oci"
)

// What clients of clients get to know has no addresses, and says what is wrong.
func TestPublic(t *testing.T) {
	const image = "r.lab.test: a:b: "
	for _, tc := range []struct {
		name    string
		o       Options
		handler http.HandlerFunc
		kind    error
		want    string
	}{
		{"nobody", Options{Name: "10.0.0.1:5000"}, nil, nil, "10.0.0.1:5000: a:b: does not answer"},
		{"an answer", Options{}, status(404, `{"errors":[{"code":"UNKNOWN","message":"no such thing"}]}`), fs.ErrNotExist, image + "404 Not Found: UNKNOWN: no such thing"},
		{"no reason", Options{}, status(599, ""), nil, image + "599"},
		{"an answer of elsewhere", Options{}, redirected(func(*http.Request) string { return "https://blobs.cdn.test/x" }), nil, image + "418 I'm a teapot"},
		{"to a private network", Options{}, redirected(func(*http.Request) string { return "https://10.0.0.1/x" }), nil, image + "leads to where it must not"},
		{"to nobody", Options{}, redirected(func(*http.Request) string { return "https://9.9.9.1/x" }), nil, image + "does not answer"},
		{"another digest", Options{}, documents(document1, "Docker-Content-Digest", hashOf("x").String()), ErrDigest, image + "the answer has another digest than it should"},
		{"too much", Options{}, documents(strings.Repeat("x", oci.MaxManifest+1)), nil, image + "the answer makes no sense"},
		{"no HTTPS", Options{Name: "r.lab.test:5000"}, nil, ErrNotHTTPS, "r.lab.test:5000: a:b: speaks no HTTPS"},
		{"no trust", Options{Name: "r.other.test"}, nil, ErrCertificate, "r.other.test: a:b: has a certificate that is not trusted"},
		{"token server", Options{}, guarded(`Bearer realm="https://9.9.9.1/"`, always("never")), nil, "r.lab.test: token for a: the token server does not answer"},
		{"token server in a private network", Options{}, guarded(`Bearer realm="https://10.0.0.1/"`, always("never")), nil, "r.lab.test: token for a: the token server leads to where it must not"},
		{"silence", Options{}, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, nil, image + "does not answer in time"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inNetwork(t, func(t *testing.T, n *network) {
				if tc.o.Name == "" {
					tc.o.Name = "r.lab.test"
					n.Serve("r.lab.test:443", "9.9.9.9", tc.handler)
				}
				n.Serve("r.lab.test:5000", "9.9.9.9", documents(document1))
				n.Serve("r.other.test:443", "9.9.9.9", documents(document1))
				n.Serve("blobs.cdn.test:443", "9.9.9.9", status(418, ""))
				_, err := n.open(tc.o).Manifest(t.Context(), "a", "b")
				var e *Error
				if !errors.As(err, &e) || e.Public() != tc.want {
					t.Fatalf("%q of %v; want %q", e.Public(), err, tc.want)
				}
				for _, kind := range []error{fs.ErrNotExist, ErrDigest, ErrNotHTTPS, ErrCertificate} {
					if errors.Is(err, kind) != (kind == tc.kind) {
						t.Errorf("%v: is %v: %v", err, kind, kind != tc.kind)
					}
				}
				if token := strings.Contains(tc.want, "token"); e.TokenServer != token {
					t.Errorf("is the token server's: %v", e.TokenServer)
				}
			})
		})
	}
}

func TestPublicOfABody(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *network) {
		c := &memnet.Cutter{Data: content(), Cuts: slices.Repeat([]int{0}, 10)}
		_, _, err := blob(t, n, "http://r.lab.test", c)
		var e *Error
		if !errors.As(err, &e) || !strings.HasSuffix(e.Public(), ": breaks its answers off, or is too slow") || strings.Contains(e.Public(), "cut after") {
			t.Error(err)
		}
	})
}

// An Error that another package makes, or gives another reason, is shown as it is.
func TestErrorOfAnotherPackage(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *network) {
		n.Serve("lab:443", "9.9.9.9", documents(document1))
		_, err := n.open(Options{Name: "lab"}).Manifest(t.Context(), "a", "b")
		var failed *Error
		if !errors.As(err, &failed) {
			t.Fatal(err)
		}
		again := *failed
		again.Subject, again.Err = "", errors.New("no manifest")
		for _, e := range []*Error{{Registry: "lab", Status: 502, Err: errors.New("no manifest")}, &again} {
			if want := "lab: no manifest"; e.Public() != want || e.Error() != want {
				t.Errorf("%q, %q; want %q", e.Public(), e.Error(), want)
			}
		}
	})
}

// "EOF" says nothing to its reader.
func TestHangUp(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *network) {
		h := n.Serve("r.lab.test:80", "9.9.9.9", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
		_, err := n.open(Options{Name: "lab", URL: "http://r.lab.test"}).Manifest(t.Context(), "a", "b")
		if want := "lab: a:b: the server hangs up without an answer"; err == nil || err.Error() != want || len(h.Requests()) != maxTries {
			t.Errorf("%v after %d tries; want %q", err, len(h.Requests()), want)
		}
	})
}

// It is said for how long, and for whom, something is waited; once, however many wait.
func TestPatienceIsSaid(t *testing.T) {
	for _, tc := range []struct {
		status int
		after  string
		token  bool
		want   string
	}{
		{429, "27", false, "waiting 27 s: the registry wants fewer requests"},
		{429, "9", true, "waiting 9 s: the token server wants fewer requests"},
		{429, "3000", false, "waiting 60 s: the registry wants fewer requests"},
		{503, "7", false, "waiting 7 s: the registry answers 503"},
		{503, "", false, ""},
	} {
		inNetwork(t, func(t *testing.T, n *network) {
			start := time.Now()
			busy := func(w http.ResponseWriter, r *http.Request, then http.HandlerFunc) {
				if time.Since(start) == 0 {
					then = status(tc.status, "", "Retry-After", tc.after)
				}
				then(w, r)
			}
			s := &tokenServer{}
			n.Serve("auth.lab.test:443", "9.9.9.8", func(w http.ResponseWriter, r *http.Request) { busy(w, r, s.ServeHTTP) })
			n.Serve("r.lab.test:443", "9.9.9.9", func(w http.ResponseWriter, r *http.Request) {
				if tc.token {
					guarded(labChallenge, s.valid)(w, r)
					return
				}
				busy(w, r, documents(document1))
			})
			r := n.open(Options{Name: "r.lab.test", Patient: true})
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() {
					if _, err := r.Manifest(t.Context(), "a", "b"); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			log := n.Logged()
			if got := strings.Count(log, "level=INFO"); (got == 1) != (tc.want != "") || !strings.Contains(log, tc.want) {
				t.Errorf("%+v: said %d times\n%s", tc, got, log)
			}
		})
	}
}
