package web

import (
	"bytes"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nixreg/nixreg/internal/fetch"
	"github.com/nixreg/nixreg/internal/fetch/memnet"
	"github.com/nixreg/nixreg/store"
)

// file writes a file and returns its name.
func file(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestCredentials(t *testing.T) {
	var got string
	s := serve(t, func(_ int, w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		if got = user + ":" + password; got == ":" {
			got = r.Header.Get("Authorization")
		}
	})
	netrc := file(t, "machine 127.0.0.1 login me password secret\nmachine 127.0.0.1 login her password hers\n")
	attic := file(t, "default password only")
	token := file(t, "t0ken\n")
	at := strings.TrimPrefix(s.URL, "http://")
	for address, want := range map[string]string{
		"http://" + at:                                                   "",
		"http://a%40b:c%3Ad@" + at:                                       "a@b:c:d",
		"http://" + at + "?netrc-file=" + netrc:                          "me:secret",
		"http://her@" + at + "?netrc-file=" + netrc:                      "her:hers",
		"http://her:own@" + at + "?netrc-file=" + netrc:                  "her:own",
		"http://" + at + "?netrc-file=" + attic:                          ":only",
		"http://" + at + "?token-file=" + token + "&netrc-file=" + netrc: "Bearer t0ken",
	} {
		if _, err := client(t, address).Get(t.Context(), "x", 1); err != nil || got != want {
			t.Errorf("%s: sent %q, want %q; %v", address, got, want, err)
		}
	}
	if _, err := client(t, s.URL, func(o *Options) { o.Netrc = netrc }).Get(t.Context(), "x", 1); err != nil || got != "me:secret" {
		t.Errorf("option: sent %q; %v", got, err)
	}
	if _, err := client(t, s.URL, func(o *Options) { o.Netrc = netrc + ".none" }).Get(t.Context(), "x", 1); err != nil || got != "" {
		t.Errorf("absent: sent %q; %v", got, err)
	}
}

func TestCredentialsChange(t *testing.T) {
	var got string
	s := serve(t, func(_ int, w http.ResponseWriter, r *http.Request) { got = r.Header.Get("Authorization") })
	name := file(t, "one")
	var log bytes.Buffer
	c := client(t, s.URL+"?token-file="+name, func(o *Options) { o.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	for _, token := range []string{"second", "third!", ""} {
		next := file(t, token) // another file in its place, as those who renew secrets do
		if err := os.Rename(next, name); err != nil {
			t.Fatal(err)
		}
		_, err := c.Get(t.Context(), "x", 1)
		if token == "" {
			if !errors.Is(err, store.ErrUnavailable) || !errors.Is(err, fs.ErrPermission) || strings.Contains(err.Error(), name) || !strings.Contains(log.String(), name) {
				t.Errorf("empty: %v; the log has\n%s", err, log.String())
			}
		} else if err != nil || got != "Bearer "+token {
			t.Errorf("sent %q, want %q: %v", got, token, err)
		}
	}
}

func TestAdvice(t *testing.T) {
	s := serve(t, func(_ int, w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusUnauthorized) })
	at := strings.TrimPrefix(s.URL, "http://")
	has, hasNot, token := file(t, "machine 127.0.0.1 password hunter2"), file(t, "machine other password hunter2"), file(t, "hunter2")
	for address, want := range map[string]string{
		"http://" + at: "?netrc-file= or ?token-file=", "http://me:hunter2@" + at: "user and password of the URL",
		"http://" + at + "?netrc-file=" + has:    "does not take what the netrc file has",
		"http://" + at + "?netrc-file=" + hasNot: "the netrc file has none for machine 127.0.0.1",
		"http://" + at + "?token-file=" + token:  "the token that is in its file",
	} {
		var log bytes.Buffer
		_, err := client(t, address, func(o *Options) { o.Log = slog.New(slog.NewTextHandler(&log, nil)) }).Get(t.Context(), "x", 1)
		if !errors.Is(err, store.ErrUnavailable) || !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v, want %q", address, err, want)
		}
		if _, name, ok := strings.Cut(address, "-file="); ok && (strings.Contains(err.Error(), name) || !strings.Contains(log.String(), "file="+name)) {
			t.Errorf("%s: the name of the file is for the log alone: %v\n%s", address, err, log.String())
		}
	}
}

// What the host says to which a redirect leads is not said of the credentials, which it does not get; nor is a redirect that is
// not followed.
func TestRedirectsAreNotAboutCredentials(t *testing.T) {
	netrc := file(t, "machine 127.0.0.1 password hunter2")
	target := serve(t, func(_ int, w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			t.Error("the target gets credentials")
		}
		status, _ := strconv.Atoi(strings.Trim(r.URL.Path, "/"))
		w.WriteHeader(status)
	})
	s := serve(t, func(_ int, w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", strings.Replace(target.URL, "127.0.0.1", "localhost", 1)+strings.TrimSuffix(r.URL.Path, ".narinfo"))
		if r.URL.Path == "/refused" {
			w.Header().Set("Location", "ftp://localhost/x")
		}
		if r.URL.Path == "/nowhere" {
			w.Header().Del("Location")
		}
		w.WriteHeader(http.StatusFound)
	})
	for name, want := range map[string][]error{
		"401.narinfo": {store.ErrUnavailable}, "403.narinfo": {fs.ErrPermission}, "404.narinfo": {fs.ErrNotExist}, "410.narinfo": {fs.ErrNotExist},
		"500.narinfo": {store.ErrUnavailable}, "refused": {store.ErrUnavailable}, "nowhere": {store.ErrUnavailable},
	} {
		for _, answered := range []bool{false, true} {
			var log bytes.Buffer
			c := client(t, s.URL+"?netrc-file="+netrc, func(o *Options) { o.Log = slog.New(slog.NewTextHandler(&log, nil)) })
			c.answered.Store(answered)
			_, err := c.Get(t.Context(), name, 100)
			for _, kind := range []error{fs.ErrNotExist, store.ErrUnavailable, fs.ErrPermission} {
				if errors.Is(err, kind) != errors.Is(errors.Join(want...), kind) {
					t.Errorf("%s: %v: %v is %t", name, err, kind, errors.Is(err, kind))
				}
			}
			if strings.Contains(err.Error(), "netrc") || strings.Contains(log.String(), "netrc") || strings.HasSuffix(name, "narinfo") && !strings.Contains(err.Error(), "it redirects to localhost:") {
				t.Errorf("%s: %v; the log has %q", name, err, &log)
			}
		}
	}
}

// For how long a server wants to be left alone is part of the error, whether it was waited for or not.
func TestRetryAfterIsTold(t *testing.T) {
	for after, want := range map[string]time.Duration{"": 0, "7": 7 * time.Second, "600": 10 * time.Minute} {
		s := serve(t, func(_ int, w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Retry-After", after)
			w.WriteHeader(http.StatusTooManyRequests)
		})
		_, err := client(t, s.URL).Get(t.Context(), "x", 100)
		var a interface{ RetryAfter() time.Duration }
		if !errors.As(err, &a) || a.RetryAfter() != want || !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%q: %v", after, err)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	for address, want := range map[string]error{
		"http://h?netrc-file=/nowhere/netrc":           fs.ErrNotExist,
		"http://h?token-file=/nowhere/token":           fs.ErrNotExist,
		"http://h?ca-file=/nowhere/ca":                 fs.ErrNotExist,
		"http://h?ca-file=" + file(t, "no PEM"):        fs.ErrInvalid,
		"http://h?token-file=" + file(t, "two\nlines"): fs.ErrInvalid,
		"http://h?token-file=" + t.TempDir():           fs.ErrInvalid,
	} {
		l, _, err := ParseLocation(address)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := New(t.Context(), Options{Location: l}); !errors.Is(err, want) || strings.Contains(err.Error(), "lines") {
			t.Errorf("%s: %v", address, err)
		}
	}
	if _, err := New(t.Context(), Options{}); !errors.Is(err, fs.ErrInvalid) {
		t.Error(err)
	}
}

// Credentials stay with the host they are for, and come back to it no more within one redirection.
func TestRedirectsAndCredentials(t *testing.T) {
	var here, there []string
	var first *httptest.Server
	other := serve(t, func(n int, w http.ResponseWriter, r *http.Request) {
		there = append(there, r.Header.Get("Authorization"))
		if r.URL.Path == "/back" {
			http.Redirect(w, r, first.URL+"/end", http.StatusTemporaryRedirect)
		}
	})
	first = serve(t, func(n int, w http.ResponseWriter, r *http.Request) {
		here = append(here, r.Header.Get("Authorization"))
		switch r.URL.Path {
		case "/same":
			http.Redirect(w, r, "/end", http.StatusMovedPermanently)
		case "/other":
			http.Redirect(w, r, other.URL+"/end", http.StatusFound)
		case "/back":
			http.Redirect(w, r, other.URL+"/back", http.StatusPermanentRedirect)
		}
	})
	c := client(t, first.URL+"?token-file="+file(t, "t")+"&netrc-file="+file(t, "default password x"))
	for _, q := range []struct {
		name        string
		here, there []string
	}{
		{"same", []string{"Bearer t", "Bearer t"}, nil}, {"other", []string{"Bearer t"}, []string{""}}, {"back", []string{"Bearer t", "Bearer t"}, []string{""}},
	} {
		here, there = nil, nil
		_, err := c.Get(t.Context(), q.name, 1)
		if err != nil || strings.Join(here, ",") != strings.Join(q.here, ",") || strings.Join(there, ",") != strings.Join(q.there, ",") || len(there) != len(q.there) {
			t.Errorf("%s: here %q, there %q, %v", q.name, here, there, err)
		}
	}
}

// Where redirects have led is known, but not all of it for ever.
func TestOriginsAreBounded(t *testing.T) {
	w := client(t, "https://h")
	at := func(i int) *url.URL { return &url.URL{Scheme: "https", Host: fmt.Sprintf("h%d", i)} }
	for i := range maxOrigins + 1 {
		w.remember(at(i))
		w.remember(at(i))
	}
	for i := range maxOrigins + 1 {
		if w.knows(at(i)) != (i > 0) {
			t.Errorf("%d of %d: %t", i, maxOrigins, w.knows(at(i)))
		}
	}
	if w.remember(&url.URL{Scheme: "https", Host: "H:443"}); len(w.seen) != maxOrigins || !w.knows(at(1)) {
		t.Errorf("%d origins", len(w.seen))
	}
}

func TestRedirectsRefused(t *testing.T) {
	for location, want := range map[string]string{
		"/again": "in a circle", "ftp://h/x": "no address", "http://u:hunter2@h/x": "no address", "http://%zz/hunter2": "no address",
	} {
		requests := 0
		s := serve(t, func(n int, w http.ResponseWriter, r *http.Request) {
			requests = n
			w.Header().Set("Location", location)
			w.WriteHeader(http.StatusFound)
		})
		c := client(t, s.URL)
		_, err := c.Get(t.Context(), "x", 1)
		if !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") || len(c.slept) > 0 {
			t.Errorf("%s: slept %v: %v", location, c.slept, err)
		}
		if most := map[bool]int{true: 2, false: 1}[location == "/again"]; requests != most {
			t.Errorf("%s: %d requests", location, requests)
		}
	}
}

func TestTLS(t *testing.T) {
	plain := serve(t, func(int, http.ResponseWriter, *http.Request) { t.Error("asked without TLS") })
	var proto string
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		proto = r.Proto
		if r.URL.Path == "/down" {
			http.Redirect(w, r, plain.URL, http.StatusFound)
		}
	}))
	s.EnableHTTP2 = true
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)
	s.StartTLS()
	defer s.Close()
	ca := file(t, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})))
	c := client(t, s.URL+"?ca-file="+ca)
	if _, err := c.Get(t.Context(), "x", 1); err != nil || proto != "HTTP/2.0" {
		t.Errorf("%s: %v", proto, err)
	}
	if _, err := c.Get(t.Context(), "down", 1); !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "led from https") {
		t.Error(err)
	}
	u := client(t, s.URL)
	if _, err := u.Get(t.Context(), "x", 1); !errors.Is(err, store.ErrUnavailable) || len(u.slept) > 0 {
		t.Errorf("untrusted, slept %v: %v", u.slept, err)
	}
	n := client(t, strings.Replace(plain.URL, "http:", "https:", 1))
	if _, err := n.Get(t.Context(), "x", 1); !errors.Is(err, store.ErrUnavailable) || len(n.slept) > 0 {
		t.Errorf("no TLS, slept %v: %v", n.slept, err)
	}
}

func TestLargeHeader(t *testing.T) {
	s := serve(t, func(_ int, w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Large", strings.Repeat("x", 256<<10))
	})
	if _, err := client(t, s.URL).Get(t.Context(), "x", 1); !errors.Is(err, store.ErrUnavailable) {
		t.Error(err)
	}
}

// A cache leads to addresses of its own class, or public ones, as a registry does. The address that is dialled decides.
func TestRedirectToAnotherNetwork(t *testing.T) {
	for _, tc := range []struct {
		own, to, ip string // ip is the address of the host cdn.cdn.test
		ok          bool
	}{
		{"9.9.9.9", "http://cdn.cdn.test", "9.9.9.8", true},
		{"9.9.9.9", "http://cdn.cdn.test", "169.254.169.254", false},
		{"9.9.9.9", "http://cdn.cdn.test", "127.0.0.1", false},
		{"9.9.9.9", "http://cdn.cdn.test", "::ffff:10.0.0.1", false},
		{"9.9.9.9", "http://169.254.169.254", "169.254.169.254", false},
		{"9.9.9.9", "http://localhost", "127.0.0.1", false},
		{"9.9.9.9", "http://2130706433", "127.0.0.1", false},
		{"192.168.0.1", "http://cdn.cdn.test", "10.0.0.1", true},
		{"192.168.0.1", "http://cdn.cdn.test", "127.0.0.1", false},
		{"169.254.1.1", "http://cdn.cdn.test", "169.254.169.254", false},
		{"127.0.0.1", "http://cdn.cdn.test", "127.0.0.1", true},
		{"127.0.0.1", "http://localhost", "127.0.0.1", true},
		{"127.0.0.1", "http://0.0.0.0", "0.0.0.0", false},
	} {
		memnet.Run(t, func(t *testing.T, n *memnet.Network) {
			n.Serve("cache.lab.test:80", tc.own, func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, tc.to+r.URL.Path, http.StatusFound)
			})
			witness := n.Serve(strings.TrimPrefix(tc.to, "http://")+":80", tc.ip, func(http.ResponseWriter, *http.Request) {})
			c := clientWith(t, fetch.Options{Connect: n.Connect, Proxy: memnet.NoProxy}, "http://cache.lab.test")
			defer c.Close()
			_, err := c.Get(t.Context(), "x.narinfo", 1)
			if (err == nil) != tc.ok || err != nil && !errors.Is(err, store.ErrUnavailable) || len(witness.Requests()) > 0 != tc.ok || len(c.slept) > 0 {
				t.Errorf("%+v: %v, asked for %q", tc, err, witness.Paths())
			}
			if !tc.ok && len(n.Dialed()) != 1 {
				t.Errorf("%+v: connected to %q", tc, n.Dialed())
			}
		})
	}
}

// TestRestIsAskedForByFewStatuses: what else an answer is, its Retry-After leaves nothing alone.
func TestRestIsAskedForByFewStatuses(t *testing.T) {
	s := serve(t, func(_ int, w http.ResponseWriter, r *http.Request) {
		status, _ := strconv.Atoi(strings.Trim(r.URL.Path, "/"))
		w.Header().Set("Retry-After", "3600")
		w.WriteHeader(status)
	})
	for status, want := range map[int]time.Duration{
		408: time.Hour, 425: time.Hour, 429: time.Hour, 503: time.Hour, 400: 0, 401: 0, 404: 0, 418: 0, 500: 0, 502: 0, 504: 0,
	} {
		_, err := client(t, s.URL).Get(t.Context(), strconv.Itoa(status), 10)
		var rest interface{ RetryAfter() time.Duration }
		if !errors.As(err, &rest) || rest.RetryAfter() != want {
			t.Errorf("%d: %v, %v", status, rest, err)
		}
	}
}
