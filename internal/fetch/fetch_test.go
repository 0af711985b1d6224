package fetch

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/nixreg/nixreg/internal/fetch/memnet"
)

// network is a network in memory, with clients in it.
type network struct {
	*memnet.Network
	t *testing.T
}

func inNetwork(t *testing.T, f func(t *testing.T, n *network)) {
	t.Helper()
	memnet.Run(t, func(t *testing.T, n *memnet.Network) { f(t, &network{n, t}) })
}

var testSlow = Slow{Stall: time.Minute, Limit: 2 * time.Minute, Bytes: 512 << 10}

const (
	testWait     = 30 * time.Second
	testProgress = 64 << 10
)

// open makes a client of a base.
func (n *network) open(base string, more ...func(*Options)) *Client {
	n.t.Helper()
	u, err := url.Parse(base)
	if err != nil {
		n.t.Fatal(err)
	}
	o := Options{
		Base: func() *url.URL { return u }, Redirects: 9, Slow: testSlow,
		Connect: n.Connect, Proxy: memnet.NoProxy, TLS: n.TLS(),
	}
	for _, f := range more {
		f(&o)
	}
	c := New(o)
	n.t.Cleanup(c.Close)
	return c
}

func request(ctx context.Context, c *Client, name string) Request {
	u := c.options.Base()
	u, err := u.Parse(name)
	if err != nil {
		panic(err)
	}
	return Request{Request: (&http.Request{Method: http.MethodGet, URL: u, Header: http.Header{}}).WithContext(ctx), Wait: testWait}
}

// get sends one request, with credentials for the base.
func get(ctx context.Context, c *Client, name string) (string, error) {
	r := request(ctx, c, name)
	r.Sign = func(r *http.Request) error {
		r.Header.Set("Authorization", "secret")
		return nil
	}
	resp, err := c.Send(r)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := ReadAll(resp.Body, 1<<20)
	return string(b), err
}

// tries wait for real, that is by the clock of the network.
func tries(most int) *Tries {
	return &Tries{Max: most, First: time.Second / 2, Longest: 16 * time.Second,
		Pause: func(ctx context.Context, d time.Duration, _ error) error { return Sleep(ctx, d) }}
}

// file asks for a file of which the reader knows the digest.
func file(c *Client, name string) File {
	return File{
		Ask: func(ctx context.Context, rest http.Header) (resp *http.Response, err error) {
			err = tries(3).Do(ctx, func() error {
				r := request(ctx, c, name)
				if rest != nil {
					r.Header = rest
				}
				resp, err = c.Send(r)
				return err
			})
			return resp, err
		},
		Tries: tries(6), Progress: testProgress, Limit: 1 << 30, Digested: true,
		Fail: func(ctx context.Context, err error) error {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return err
		},
	}
}

// blob reads a file that h serves at a server of its own.
func blob(t *testing.T, n *network, url string, h http.Handler, more ...func(*File)) (string, *Body, error) {
	t.Helper()
	n.Serve("r.lab.test:80", "9.9.9.9", h.ServeHTTP)
	n.Serve("r.lab.test:443", "9.9.9.9", h.ServeHTTP)
	c := n.open(url)
	f := file(c, "a")
	for _, m := range more {
		m(&f)
	}
	b, err := c.Open(t.Context(), f)
	if err != nil {
		return "", nil, err
	}
	t.Cleanup(func() { b.Close() })
	got, err := io.ReadAll(b)
	return string(got), b, err
}

const text = "some text"

// texts serves one text under all names.
func texts(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, text) }

func status(code int, body string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(code)
		io.WriteString(w, body)
	}
}

// redirected serves a text at /data, and a redirect elsewhere.
func redirected(to func(*http.Request) string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/data") {
			texts(w, r)
			return
		}
		w.Header().Set("Location", to(r))
		w.WriteHeader(http.StatusTemporaryRedirect)
	}
}

// The connection of a short answer is used again, whatever its status.
func TestConnectionsAreReused(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *network) {
		n.Serve("r.lab.test:80", "9.9.9.9", status(404, strings.Repeat("x", 10000)))
		c := n.open("http://r.lab.test")
		for range 5 {
			if _, err := get(t.Context(), c, "a"); err == nil {
				t.Fatal("found")
			}
		}
		if len(n.Dialed()) != 1 {
			t.Errorf("connected %d times", len(n.Dialed()))
		}
	})
}

// The wait for a header begins when the request was sent, by HTTP/2 too, and does not count the connection.
func TestSilence(t *testing.T) {
	for _, base := range []string{"http://r.lab.test", "https://r.lab.test"} {
		inNetwork(t, func(t *testing.T, n *network) {
			silent := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
			n.Serve("r.lab.test:80", "9.9.9.9", silent)
			n.Serve("r.lab.test:443", "9.9.9.9", silent)
			c := n.open(base, func(o *Options) {
				o.Connect = func(ctx context.Context, d *net.Dialer, network, addr string) (net.Conn, error) {
					time.Sleep(9 * time.Second)
					return n.Connect(ctx, d, network, addr)
				}
			})
			start := time.Now()
			_, err := get(t.Context(), c, "a")
			if took := time.Since(start); !errors.Is(err, ErrTimeout) || err.Error() != "no answer in 30s" || took != testWait+9*time.Second {
				t.Errorf("%v after %v", err, took)
			}
		})
	}
}

// Which answers are worth another try, and for how long a server is left alone.
func TestTries(t *testing.T) {
	for _, tc := range []struct {
		status int
		after  string
		capped bool
		asked  int
		took   time.Duration
	}{
		{404, "", false, 1, 0}, {501, "", false, 1, 0}, {500, "", false, 3, -1}, {503, "", false, 3, -1}, {522, "", false, 3, -1}, {425, "", false, 3, -1},
		{429, "", false, 2, -1}, {429, "7", false, 2, 7 * time.Second}, {503, "60", false, 3, 2 * time.Minute},
		{503, "61", false, 1, 0}, {503, "61", true, 3, 2 * time.Minute}, {404, "9", false, 1, 0},
	} {
		inNetwork(t, func(t *testing.T, n *network) {
			h := n.Serve("r.lab.test:80", "9.9.9.9", status(tc.status, "", "Retry-After", tc.after))
			c, tr := n.open("http://r.lab.test"), tries(3)
			tr.Busy, tr.Rest, tr.Capped = 2, time.Minute, tc.capped
			start := time.Now()
			err := tr.Do(t.Context(), func() error {
				_, err := get(t.Context(), c, "a")
				return err
			})
			var e *Error
			took := time.Since(start)
			if !errors.As(err, &e) || e.Status != tc.status || len(h.Requests()) != tc.asked || tc.took >= 0 && took != tc.took || tc.took < 0 && took == 0 {
				t.Errorf("%+v: %v after %d requests and %v", tc, err, len(h.Requests()), took)
			}
		})
	}
}

// TestEnvironmentProxy: a proxy for all requests is taken where there is none for the scheme, but not for a host of NO_PROXY.
func TestEnvironmentProxy(t *testing.T) {
	for _, v := range []string{"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"} {
		t.Setenv(v, "")
		t.Setenv(strings.ToLower(v), "")
	}
	t.Setenv("ALL_PROXY", "socks5://all.example:1080")
	t.Setenv("HTTPS_PROXY", "http://secure.example:3128")
	t.Setenv("NO_PROXY", "inside.example")
	find := environmentProxy()
	for target, want := range map[string]string{
		"http://outside.example": "socks5://all.example:1080", "https://outside.example": "http://secure.example:3128",
		"http://inside.example": "", "http://localhost": "",
	} {
		u, err := url.Parse(target)
		if err != nil {
			t.Fatal(err)
		}
		got, err := find(&http.Request{URL: u})
		if err != nil || (got == nil) != (want == "") || got != nil && got.String() != want {
			t.Errorf("%s: %v, %v", target, got, err)
		}
	}
}
