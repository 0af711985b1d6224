package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"testing"
	"time"
)

// hopping is a nixreg that is not ready yet: it redirects to itself by a query alone, and counts, before next answers.
func hopping(hops int, next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var n int
		fmt.Sscan(r.URL.Query().Get("hop"), &n)
		if n == hops {
			next(w, r)
			return
		}
		w.Header().Set("Location", fmt.Sprintf("?a=%%2F+1&hop=%d", n+1))
		w.WriteHeader(http.StatusTemporaryRedirect)
	}
}

// A nixreg asks to come again up to eight times, and a proxy in front of it may have a redirect of its own. Method, path,
// other parameters and credentials stay; a token is asked for once.
func TestHops(t *testing.T) {
	d := hashOf(document1)
	for name, ask := range map[string]func(context.Context, *Registry) (string, error){
		"GET /v2/a/manifests/b": func(ctx context.Context, r *Registry) (string, error) {
			m, err := r.Manifest(ctx, "a", "b")
			if err != nil {
				return "", err
			}
			return string(m.Data), nil
		},
		"HEAD /v2/a/manifests/b": func(ctx context.Context, r *Registry) (string, error) {
			m, err := r.Head(ctx, "a", "b")
			if err == nil && m.Size != int64(len(document1)) {
				err = fmt.Errorf("%d bytes", m.Size)
			}
			return document1, err
		},
		"GET /v2/a/blobs/" + d.String(): func(ctx context.Context, r *Registry) (string, error) {
			b, err := r.Blob(ctx, "a", d)
			if err != nil {
				return "", err
			}
			defer b.Close()
			data, err := io.ReadAll(b)
			return string(data), err
		},
		"HEAD /v2/a/blobs/" + d.String(): func(ctx context.Context, r *Registry) (string, error) {
			size, err := r.Stat(ctx, "a", d)
			if err == nil && size != int64(len(document1)) {
				err = fmt.Errorf("%d bytes", size)
			}
			return document1, err
		},
	} {
		inNetwork(t, func(t *testing.T, n *network) {
			tokens := new(tokenServer)
			n.Serve("auth.lab.test:443", "9.9.9.8", tokens.ServeHTTP)
			first := true // the proxy's own redirect
			h := n.Serve("r.lab.test:443", "9.9.9.9", func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Authorization") != tokens.valid() || tokens.valid() == "Bearer t0" {
					status(401, "", "WWW-Authenticate", labChallenge)(w, r)
					return
				}
				if first {
					first = false
					http.Redirect(w, r, r.URL.Path+"?x=y", http.StatusFound)
					return
				}
				hopping(8, documents(document1))(w, r)
			})
			got, err := ask(t.Context(), n.open(Options{Name: "r.lab.test"}))
			if err != nil || got != document1 || tokens.given != 1 {
				t.Errorf("%s: %q, %v, %d tokens", name, got, err, tokens.given)
			}
			want := slices.Concat([]string{name}, slices.Repeat([]string{name + " Bearer t1"}, 10))
			if !slices.Equal(h.Paths(), want) {
				t.Errorf("%s: asked for %q", name, h.Paths())
			}
			if last := h.Requests()[len(h.Requests())-1].URL.Query(); last.Encode() != (url.Values{"a": {"/ 1"}, "hop": {"8"}}).Encode() {
				t.Errorf("%s: the last query is %s", name, last.Encode())
			}
		})
	}
}

// After its last hop it is a moment that will pass: a patient registry waits for as long as it says, and begins anew.
func TestHopsThatEndInVain(t *testing.T) {
	notReady := status(503, `{"errors":[{"code":"UNAVAILABLE","message":"a:b is not ready yet"}]}`, "Retry-After", "10")
	for patient, asks := range map[bool]int{false: 9, true: 18} {
		inNetwork(t, func(t *testing.T, n *network) {
			tries := 0
			h := n.Serve("r.lab.test:443", "9.9.9.9", hopping(8, func(w http.ResponseWriter, r *http.Request) {
				if tries++; tries == 1 {
					notReady(w, r)
					return
				}
				documents(document1)(w, r)
			}))
			begun := time.Now()
			_, err := n.open(Options{Name: "r.lab.test", Patient: patient}).Manifest(t.Context(), "a", "b")
			var e *Error
			switch {
			case patient && (err != nil || time.Since(begun) != 10*time.Second):
				t.Errorf("%v after %v", err, time.Since(begun))
			case !patient && (!errors.As(err, &e) || e.Status != 503 || e.RetryAfter != 10*time.Second):
				t.Errorf("%v", err)
			}
			if len(h.Requests()) != asks {
				t.Errorf("patient %v: %d requests", patient, len(h.Requests()))
			}
		})
	}
}
