package upstream

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// behindProxy makes a Registry that is reached by way of a proxy.
func behindProxy(n *network, o Options) *Registry {
	n.options.Proxy = func(*http.Request) (*url.URL, error) { return url.Parse("http://me:hush@proxy.lab.test:3128") }
	return n.open(o)
}

// What a proxy says that does not connect is told; another try is for its bad moments alone.
func TestProxyRefuses(t *testing.T) {
	for status, want := range map[int]string{
		407: "the proxy answers 407 Proxy Authentication Required: put a user and a password in HTTPS_PROXY",
		403: "the proxy answers 403 Forbidden",
		503: "the proxy answers 503 Service Unavailable",
	} {
		inNetwork(t, func(t *testing.T, n *network) {
			h := n.Serve("proxy.lab.test:3128", "10.0.0.3", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
			_, err := behindProxy(n, Options{Name: "r.lab.test"}).Manifest(t.Context(), "a", "b")
			var e *Error
			tries := map[bool]int{true: maxTries, false: 1}[status >= 500]
			if !errors.As(err, &e) || e.Status != 0 || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hush") || len(h.Requests()) != tries {
				t.Errorf("%v after %d requests; want %q", err, len(h.Requests()), want)
			}
			if want := "r.lab.test: a:b: cannot be reached through the proxy"; e.Public() != want {
				t.Errorf("%q; want %q", e.Public(), want)
			}
		})
	}
}
