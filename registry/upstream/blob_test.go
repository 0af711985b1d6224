package upstream

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"slices"
	"testing"
	"time"
)

// A registry that knows no HEAD, or says no size, or has blobs where a HEAD is not allowed, is asked by GET.
func TestStat(t *testing.T) {
	d := hashOf("hello")
	asked := func(methods ...string) (all []string) {
		for _, m := range methods {
			all = append(all, m+" /v2/a/blobs/"+d.String())
		}
		return all
	}
	for _, tc := range []struct {
		name string
		head http.HandlerFunc
		want []string
		kind error
	}{
		{"HEAD", documents("hello"), asked("HEAD"), nil},
		{"no HEAD", status(405, ""), asked("HEAD", "GET"), nil},
		{"HEAD not implemented", status(501, ""), asked("HEAD", "GET"), nil},
		{"no size", func(w http.ResponseWriter, r *http.Request) { w.(http.Flusher).Flush() }, asked("HEAD", "GET"), nil},
		{"signed for GET", redirected(func(*http.Request) string { return "https://blobs.cdn.test/x" }), asked("HEAD", "GET"), nil},
		{"forbidden", status(403, ""), asked("HEAD"), fs.ErrPermission},
		{"unknown", status(404, ""), asked("HEAD"), fs.ErrNotExist},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inNetwork(t, func(t *testing.T, n *network) {
				n.Serve("blobs.cdn.test:443", "9.9.9.7", status(403, ""))
				h := n.Serve("r.lab.test:443", "9.9.9.9", func(w http.ResponseWriter, r *http.Request) {
					if r.Method == http.MethodHead {
						tc.head(w, r)
						return
					}
					documents("hello")(w, r)
				})
				size, err := n.open(Options{Name: "r.lab.test"}).Stat(t.Context(), "a", d)
				if !errors.Is(err, tc.kind) || err == nil && size != 5 || !slices.Equal(h.Paths(), tc.want) {
					t.Errorf("%d, %v, after %q", size, err, h.Paths())
				}
			})
		})
	}
}

// A registry that first gets a blob itself takes longer than one that only looks for a document.
func TestBlobOfAProxy(t *testing.T) {
	for _, tc := range []struct {
		takes time.Duration
		ok    bool
	}{{makeTimeout - time.Second, true}, {makeTimeout + time.Second, false}} {
		for _, url := range []string{"http://r.lab.test", "https://r.lab.test"} {
			inNetwork(t, func(t *testing.T, n *network) {
				start := time.Now()
				slow := func(w http.ResponseWriter, r *http.Request) {
					select {
					case <-time.After(tc.takes):
						documents("hello")(w, r)
					case <-r.Context().Done():
					}
				}
				n.Serve("blobs.cdn.test:443", "9.9.9.7", slow)
				got, _, err := blob(t, n, url, redirected(func(*http.Request) string { return "https://blobs.cdn.test/x" }))
				var late interface{ Timeout() bool }
				if (err == nil) != tc.ok || tc.ok && got != "hello" || !tc.ok && (time.Since(start) > makeTimeout || !errors.As(err, &late) || !late.Timeout()) {
					t.Errorf("%s: %q, %v after %v", url, got, err, time.Since(start))
				}
			})
		}
	}
}

// The text of a redirect is nothing to wait for.
func TestSlowRedirect(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *network) {
		n.Serve("blobs.cdn.test:443", "9.9.9.7", documents("hello"))
		start := time.Now()
		got, _, err := blob(t, n, "https://r.lab.test", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", "https://blobs.cdn.test/x")
			w.Header().Set("Content-Length", "1000")
			w.WriteHeader(http.StatusTemporaryRedirect)
			for r.Context().Err() == nil {
				fmt.Fprint(w, ".")
				w.(http.Flusher).Flush()
				select {
				case <-time.After(100 * time.Millisecond):
				case <-r.Context().Done():
				}
			}
		}))
		if took := time.Since(start); err != nil || got != "hello" || took > 2*time.Second {
			t.Errorf("%q, %v after %v", got, err, took)
		}
	})
}

// A blob is as its digest has it, whatever its header says of it.
func TestBlobWithEncoding(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *network) {
		got, _, err := blob(t, n, "https://r.lab.test", documents("hello", "Content-Encoding", "gzip"))
		if err != nil || got != "hello" {
			t.Errorf("%q, %v", got, err)
		}
	})
}
