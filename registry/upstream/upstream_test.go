package upstream

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// redirected serves documents at /data, and a redirect elsewhere.
func redirected(to func(*http.Request) string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/data") {
			documents(document1)(w, r)
			return
		}
		w.Header().Set("Location", to(r))
		w.WriteHeader(http.StatusTemporaryRedirect)
	}
}

// A token server is judged as a redirect is.
func TestRealmIsJudged(t *testing.T) {
	for realm, text := range map[string]string{
		"https://169.254.169.254/token": "metadata", "https://u:hush@auth.lab.test/token": "no address of a server", "https://10.0.0.1/token": "private", "http://auth.lab.test/token": "led from",
		"https://internal.cdn.test/token": "private", "https://moved.cdn.test/token": "led from", "ftp://auth.lab.test/": "ftp",
	} {
		inNetwork(t, func(t *testing.T, n *network) {
			n.Serve("r.lab.test:443", "9.9.9.9", guarded(`Bearer realm="`+realm+`"`, always("never")))
			n.Serve("internal.cdn.test:443", "10.0.0.2", documents(document1))
			n.Serve("moved.cdn.test:443", "9.9.9.8", redirected(func(*http.Request) string { return "http://blobs.cdn.test/data" }))
			_, err := n.open(Options{Name: "r.lab.test"}).Manifest(t.Context(), "a", "b")
			if err == nil || !strings.Contains(err.Error(), text) || slices.ContainsFunc(n.Dialed(), func(s string) bool { return !strings.HasPrefix(s, "9.9.9.") }) {
				t.Errorf("%s: %v, connected to %q", realm, err, n.Dialed())
			}
		})
	}
}

// HTTP is tried where HTTPS is not spoken, if that is allowed and the scheme is left to the registry.
func TestPlainHTTP(t *testing.T) {
	for _, tc := range []struct {
		o  Options
		ok bool
	}{
		{Options{Name: "r.lab.test:5000", AllowHTTP: true}, true},
		{Options{Name: "r.lab.test", AllowHTTP: true}, true},
		{Options{Name: "r.lab.test:5000"}, false},
		{Options{Name: "r.lab.test:5000", SkipVerify: true}, false},
		{Options{Name: "lab", URL: "https://r.lab.test:5000", AllowHTTP: true}, false},
	} {
		inNetwork(t, func(t *testing.T, n *network) {
			n.Serve("r.lab.test:5000", "9.9.9.9", documents(document1))
			n.Serve("r.lab.test:80", "9.9.9.9", documents(document1))
			r := n.open(tc.o)
			for range 2 {
				if _, err := r.Manifest(t.Context(), "a", "b"); (err == nil) != tc.ok {
					t.Errorf("%+v: %v", tc.o, err)
				}
			}
		})
	}
}

// Where HTTPS is spoken with the wrong certificate, nothing is sent without it.
func TestNoHTTPForAWrongCertificate(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *network) {
		n.Serve("r.other.test:443", "9.9.9.9", documents(document1))
		h := n.Serve("r.other.test:80", "9.9.9.9", documents(document1))
		_, err := n.open(Options{Name: "r.other.test", AllowHTTP: true}).Manifest(t.Context(), "a", "b")
		if !errors.Is(err, ErrCertificate) || len(h.Requests()) != 0 {
			t.Errorf("%v after %q", err, n.Dialed())
		}
	})
}

func TestCertificates(t *testing.T) {
	for _, skip := range []bool{false, true} {
		inNetwork(t, func(t *testing.T, n *network) {
			h := n.Serve("r.other.test:443", "9.9.9.9", documents(document1))
			_, err := n.open(Options{Name: "r.other.test", SkipVerify: skip}).Manifest(t.Context(), "a", "b")
			if (err == nil) != skip || !skip && (!strings.Contains(err.Error(), "certificate") || len(n.Dialed()) != 1 || len(h.Requests()) != 0) {
				t.Errorf("%v after %q", err, n.Dialed())
			}
		})
	}
}

func TestOptions(t *testing.T) {
	for _, o := range []Options{
		{}, {Name: "a b"}, {Name: "a/b"}, {Name: "lab", URL: "ftp://x"}, {Name: "lab", URL: "https://"}, {Name: "lab", URL: "https://u@x"},
		{Name: "lab", URL: "https://x/v2"}, {Name: "lab", URL: "https://x?y"}, {Name: "lab", URL: "x:5000"}, {Name: "lab", URL: "https://x:port"},
		{Name: strings.Repeat("a", 256)}, {Name: "bücher.de"}, {Name: ":5000"},
	} {
		if _, err := New(o); err == nil {
			t.Errorf("%+v is taken", o)
		}
	}
	for o, host := range map[[2]string]string{
		{"docker.io", ""}: "index.docker.io", {"Quay.io", ""}: "quay.io", {"lab", "http://LAB:5000/"}: "lab:5000",
		{"[::1]:5000", ""}: "[::1]:5000", {"127.0.0.1:5000", ""}: "127.0.0.1:5000",
	} {
		r, err := New(Options{Name: o[0], URL: o[1]})
		if err != nil || r.Host() != host || r.Name() != o[0] {
			t.Errorf("%q: %v, %v", o, r, err)
		}
	}
}

func TestSameParty(t *testing.T) {
	for hosts, want := range map[[2]string]bool{
		{"auth.docker.io", "index.docker.io"}: true, {"gitlab.com", "registry.gitlab.com"}: true, {"Quay.io", "quay.io."}: true,
		{"docker.io", "docker.com"}: false, {"evildocker.io", "docker.io"}: false, {"10.0.0.1", "10.1.0.1"}: false, {"10.0.0.1", "10.0.0.1"}: true,
		{"lab", "lab"}: true, {"lab", "auth.lab"}: false, {"auth", "lab"}: false, {"", ""}: false, {"a..", "b.."}: false,
		{"1.2", "3.1.2"}: false, {"fe80::1", "fe80::1"}: true,
	} {
		if sameParty(hosts[0], hosts[1]) != want || sameParty(hosts[1], hosts[0]) != want {
			t.Errorf("%q: not %v", hosts, want)
		}
	}
}
