package web

import (
	"errors"
	"io/fs"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/nixreg/nixreg/internal/fetch"
	"github.com/nixreg/nixreg/store"
)

// What a proxy says of a connection that it does not make is not what the store says of a file.
func TestProxyRefuses(t *testing.T) {
	for status, want := range map[int]struct {
		text       string
		permission bool
		tries      int
	}{
		407: {"the proxy answers 407 Proxy Authentication Required: the proxy wants a user and a password: put them in HTTPS_PROXY", true, 1},
		403: {"the proxy answers 403 Forbidden", false, 1},
		404: {"the proxy answers 404 Not Found", false, 1},
		502: {"the proxy answers 502 Bad Gateway (5 tries)", false, 5},
	} {
		requests := 0
		s := serve(t, func(n int, w http.ResponseWriter, r *http.Request) {
			requests = n
			w.WriteHeader(status)
		})
		proxy := func(*http.Request) (*url.URL, error) {
			return url.Parse(strings.Replace(s.URL, "http://", "http://me:hunter2@", 1))
		}
		c := clientWith(t, fetch.Options{Proxy: proxy}, "https://cache.example.org")
		c.answered.Store(true) // or else to be forbidden would not be the file's matter
		_, err := c.Get(t.Context(), "x", 1)
		if !errors.Is(err, store.ErrUnavailable) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) != want.permission {
			t.Errorf("%d: %v", status, err)
		}
		if !strings.HasSuffix(err.Error(), want.text) && !strings.Contains(err.Error(), want.text+" or ") || strings.Contains(err.Error(), "hunter2") || requests != want.tries {
			t.Errorf("%d: %d requests: %v; want %q", status, requests, err, want.text)
		}
	}
}
