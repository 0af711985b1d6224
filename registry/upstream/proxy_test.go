package upstream

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// behindProxy makes a Registry that is reached by way of a proxy.
func behindProxy(n *network, o Options) *Registry {
	r := n.open(o)
	r.wire.proxy = func(*http.Request) (*url.URL, error) { return url.Parse("http://me:hush@proxy.lab.test:3128") }
	r.wire.proxied.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		return n.connect(ctx, &net.Dialer{}, network, addr)
	}
	n.t.Cleanup(r.wire.proxied.CloseIdleConnections)
	return r
}

// Behind a proxy names are its business, and literal addresses are not.
func TestProxy(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *network) {
		var to string
		h := n.serve("proxy.lab.test:3128", "10.0.0.3", redirected(func(*http.Request) string { return to }))
		r := behindProxy(n, Options{Name: "lab", URL: "http://r.lab.test"})
		for _, tc := range [][2]string{
			{"http://blobs.cdn.test/data", ""}, {"http://10.0.0.1/data", "private"}, {"http://localhost/data", "loopback"},
			{"http://127.0.0.①/data", "not ASCII"}, {"http://ｌｏｃａｌｈｏｓｔ/data", "not ASCII"}, {"http://169.254.169%E3%80%82254/data", "not ASCII"},
		} {
			to = tc[0]
			_, err := r.Manifest(t.Context(), "a", "b")
			if (err == nil) != (tc[1] == "") || err != nil && !strings.Contains(err.Error(), tc[1]) {
				t.Errorf("%s: %v", to, err)
			}
		}
		if len(h.saw()) != 7 {
			t.Error(h.paths())
		}
	})
}

// What a proxy says that does not connect is told; another try is for its bad moments alone.
func TestProxyRefuses(t *testing.T) {
	for status, want := range map[int]string{
		407: "the proxy answers 407 Proxy Authentication Required: put a user and a password in HTTPS_PROXY",
		403: "the proxy answers 403 Forbidden",
		503: "the proxy answers 503 Service Unavailable",
	} {
		inNetwork(t, func(t *testing.T, n *network) {
			h := n.serve("proxy.lab.test:3128", "10.0.0.3", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
			_, err := behindProxy(n, Options{Name: "r.lab.test"}).Manifest(t.Context(), "a", "b")
			var e *Error
			tries := map[bool]int{true: maxTries, false: 1}[status >= 500]
			if !errors.As(err, &e) || e.Status != 0 || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hush") || len(h.saw()) != tries {
				t.Errorf("%v after %d requests; want %q", err, len(h.saw()), want)
			}
			if want := "r.lab.test: a:b: cannot be reached through the proxy"; e.Public() != want {
				t.Errorf("%q; want %q", e.Public(), want)
			}
		})
	}
}
