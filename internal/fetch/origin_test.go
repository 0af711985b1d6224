package fetch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/nixreg/nixreg/internal/fetch/memnet"
)

func TestRedirects(t *testing.T) {
	for _, tc := range []struct {
		name, url, to string
		text          string   // of the error; "" is none
		asks          []string // of the other host
	}{
		{"elsewhere", "", "https://blobs.cdn.test/data?signature=s#x", "", []string{"GET /data"}},
		{"a sibling", "", "https://blobs.lab.test/data", "", []string{"GET /data"}},
		{"relative", "", "/data", "", nil},
		{"to http", "", "http://blobs.cdn.test/data", "led from https://r.lab.test:443 to http://blobs.cdn.test:80", nil},
		{"to itself by http", "", "http://r.lab.test/data", "led from", nil},
		{"to its port by http", "", "http://r.lab.test:443/data", "led from", nil},
		{"http to http", "http://r.lab.test:5000", "http://blobs.cdn.test/data", "", []string{"GET /data"}},
		{"http to https", "http://r.lab.test:5000", "https://blobs.cdn.test/data", "", []string{"GET /data"}},
		{"http to its port by https", "http://r.lab.test:5000", "https://r.lab.test:5000/data", "led from", nil},
		{"another scheme", "", "file:///etc/passwd", "no address of a server", nil},
		{"a user", "", "https://u:hush@blobs.cdn.test/data", "no address of a server", nil},
		{"no URL", "", "https://blobs.cdn.test:hush/%zz", "no address of a server", nil},
		{"metadata", "", "https://169.254.169.254/data", "metadata", nil},
		{"metadata by http", "http://r.lab.test:5000", "http://169.254.169.254/data", "metadata", nil},
		{"a private address", "", "https://10.0.0.1/data", "private", nil},
		{"loopback", "", "https://127.0.0.1/data", "loopback", nil},
		{"mapped", "", "https://[::ffff:127.0.0.1]/data", "loopback", nil},
		{"a number", "", "https://2130706433/data", "neither a name nor an address", nil},
		{"hexadecimal", "", "https://0x7f.1/data", "neither a name nor an address", nil},
		{"localhost", "", "https://x.localhost/data", "loopback", nil},
		{"name of a private address", "", "https://internal.cdn.test/data", "private", nil},
		{"name of metadata", "", "https://metadata.cdn.test/data", "metadata", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inNetwork(t, func(t *testing.T, n *network) {
				base := cmp.Or(tc.url, "https://r.lab.test")
				c := n.open(base)
				own := n.Serve(originOf(c.options.Base()).host, "9.9.9.9", func(w http.ResponseWriter, q *http.Request) {
					if q.Header.Get("Authorization") != "secret" {
						t.Errorf("%s comes without credentials", q.URL)
					}
					redirected(func(*http.Request) string { return tc.to })(w, q)
				})
				var others []*memnet.Host
				for name, ip := range map[string]string{
					"blobs.cdn.test:443": "9.9.9.7", "blobs.cdn.test:80": "9.9.9.7", "blobs.lab.test:443": "9.9.9.8",
					"internal.cdn.test:443": "192.168.0.1", "metadata.cdn.test:443": "169.254.169.254", "r.lab.test:80": "9.9.9.9",
				} {
					others = append(others, n.Serve(name, ip, texts))
				}
				_, err := get(t.Context(), c, "a")
				if (err == nil) != (tc.text == "") || err != nil && (!strings.Contains(err.Error(), tc.text) || strings.Contains(err.Error(), "hush")) {
					t.Errorf("%v; want %q", err, tc.text)
				}
				var asked []string
				for _, h := range others {
					asked = append(asked, h.Paths()...)
				}
				if !slices.Equal(asked, tc.asks) {
					t.Errorf("others were asked for %q", asked)
				}
				if len(own.Requests()) > 3 {
					t.Errorf("asked %q", own.Paths())
				}
				if len(n.Dialed()) > 1+len(tc.asks) {
					t.Errorf("connected to %q", n.Dialed())
				}
			})
		})
	}
}

func TestRedirectsAreBounded(t *testing.T) {
	for _, tc := range []struct {
		name, text string
		next       func(n int) int
		asked      int
	}{
		{"a circle", "circle", func(n int) int { return (n + 1) % 3 }, 3},
		{"itself", "circle", func(n int) int { return n }, 2},
		{"a long way", "more than 9", func(n int) int { return n + 1 }, 10},
	} {
		inNetwork(t, func(t *testing.T, n *network) {
			h := n.Serve("r.lab.test:443", "9.9.9.9", redirected(func(r *http.Request) string {
				var i int
				fmt.Sscan(r.URL.Query().Get("i"), &i)
				return fmt.Sprintf("/x?i=%d", tc.next(i))
			}))
			_, err := get(t.Context(), n.open("https://r.lab.test"), "a")
			if err == nil || !strings.Contains(err.Error(), tc.text) || len(h.Requests()) > tc.asked+1 {
				t.Errorf("%s: %v after %d", tc.name, err, len(h.Requests()))
			}
		})
	}
}

// A server of this machine or network may lead to its own kind.
func TestOwnClass(t *testing.T) {
	for _, tc := range []struct {
		own, other string
		ok         bool
	}{
		{"127.0.0.1", "127.0.0.1", true}, {"192.168.0.1", "10.1.1.1", true}, {"192.168.0.1", "9.9.9.9", true},
		{"127.0.0.1", "10.1.1.1", false}, {"192.168.0.1", "127.0.0.1", false}, {"9.9.9.9", "127.0.0.1", false},
		{"169.254.1.1", "169.254.1.2", true}, {"169.254.1.1", "169.254.169.254", false}, {"169.254.169.254", "169.254.170.2", false},
		{"fd00::1", "fd00:ec2::254", false}, {"100.64.0.1", "100.100.100.200", false}, {"9.9.9.9", "168.63.129.16", false},
	} {
		inNetwork(t, func(t *testing.T, n *network) {
			n.Serve("r.lab.test:443", tc.own, redirected(func(*http.Request) string { return "https://blobs.cdn.test/data" }))
			n.Serve("blobs.cdn.test:443", tc.other, texts)
			_, err := get(t.Context(), n.open("https://r.lab.test"), "a")
			if (err == nil) != tc.ok || len(n.Dialed()) > 1 != tc.ok {
				t.Errorf("%v: %v, connected to %q", tc, err, n.Dialed())
			}
		})
	}
}

// What a server leads to says nothing about its own class.
func TestClassIsTheBases(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *network) {
		n.Serve("r.lab.test:443", "127.0.0.1", redirected(func(*http.Request) string { return "https://a.cdn.test/x" }))
		n.Serve("a.cdn.test:443", "9.9.9.9", redirected(func(*http.Request) string { return "https://b.cdn.test/data" }))
		n.Serve("b.cdn.test:443", "127.0.0.1", texts)
		if _, err := get(t.Context(), n.open("https://r.lab.test"), "a"); err != nil {
			t.Error(err)
		}
	})
}

// A name that changes its address is judged by the address that is dialled.
func TestRebinding(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *network) {
		n.Serve("r.lab.test:443", "9.9.9.9", redirected(func(*http.Request) string { return "https://blobs.cdn.test/data" }))
		h := n.Serve("blobs.cdn.test:443", "9.9.9.8", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Connection", "close")
			texts(w, r)
		})
		c := n.open("https://r.lab.test")
		if _, err := get(t.Context(), c, "a"); err != nil {
			t.Fatal(err)
		}
		c.Close()
		h.IP = netip.MustParseAddrPort("127.0.0.1:443")
		if _, err := get(t.Context(), c, "a"); err == nil || !strings.Contains(err.Error(), "loopback") {
			t.Error(err)
		}
	})
}

// The dialer itself refuses, not only a test's.
func TestDialer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for name, ok := range map[string]bool{"https://quay.io": false, "http://127.0.0.9": true, "http://" + l.Addr().String(): true} {
		u, err := url.Parse(name)
		if err != nil {
			t.Fatal(err)
		}
		client := New(Options{Base: func() *url.URL { return u }})
		ctx := context.WithValue(t.Context(), ownKey{}, u.Host == l.Addr().String())
		c, err := client.direct.DialContext(ctx, "tcp", l.Addr().String())
		if (err == nil) != ok || err != nil && !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil {
			c.Close()
		}
	}
}

func TestClasses(t *testing.T) {
	for a, want := range map[string]class{
		"9.9.9.9": public, "2620:fe::fe": public, "127.9.9.9": loopback, "::1": loopback, "::ffff:127.0.0.1": loopback,
		"10.0.0.1": private, "172.16.0.1": private, "172.32.0.1": public, "192.168.1.1": private, "fd00::1": private, "fec0::1": private,
		"169.254.169.254": metadata, "169.254.1.1": linkLocal, "fe80::1": linkLocal, "fe80::1%eth0": linkLocal, "100.64.0.1": shared, "100.128.0.1": public,
		"0.0.0.0": special, "0.1.2.3": special, "::": special, "224.0.0.1": special, "239.1.1.1": special, "ff02::1": special,
		"255.255.255.255": special, "192.0.2.1": special, "198.18.0.1": special, "::127.0.0.1": special,
		"64:ff9b::7f00:1": loopback, "64:ff9b::9.9.9.9": public, "64:ff9b::a9fe:a9fe": metadata, "fd00:ec2::254": metadata, "100.100.100.200": metadata, "168.63.129.16": metadata, "2002:7f00:1::": loopback,
		"2002:0a00:0001::1": private, "2001::1": special, "2001:db8::1": special, "64:ff9b:1::1": special,
	} {
		if got := classOf(netip.MustParseAddr(a)); got != want {
			t.Errorf("%s: %s; want %s", a, got, want)
		}
	}
	if classOf(netip.Addr{}) != special {
		t.Error("no address at all")
	}
}

// Wherever a server leads to, it is no address of a special kind, and no less protected.
func FuzzCheck(f *testing.F) {
	for _, s := range []string{"https://127.0.0.1/", "https://[::ffff:10.0.0.1]:5000/", "https://0x7f000001", "http://quay.io", "https://localhost.", "//x", "https://u@x", "https://127.0.0.①/"} {
		f.Add(s)
	}
	base := &url.URL{Scheme: "https", Host: "quay.io"}
	c := New(Options{Base: func() *url.URL { return base }})
	f.Fuzz(func(t *testing.T, s string) {
		u, err := url.Parse(s)
		if err != nil || c.check(base, u) != nil || c.Owns(u) {
			return
		}
		ascii := !strings.ContainsFunc(u.Hostname(), func(r rune) bool { return r > unicode.MaxASCII })
		if u.Scheme != "https" || u.User != nil || u.Hostname() == "" || !ascii {
			t.Errorf("%q is admitted", s)
		}
		if a, err := netip.ParseAddr(u.Hostname()); err == nil && classOf(a) != public {
			t.Errorf("%q is admitted: %s", s, classOf(a))
		}
	})
}

// The credentials are for the base, and for its host at https.
func TestOwns(t *testing.T) {
	for _, c := range []struct {
		base, to string
		want     bool
	}{
		{"https://h", "https://H:443/x", true}, {"https://h.", "https://h", true}, {"https://h", "http://h/x", false}, {"https://h", "https://h:444/x", false}, {"https://h", "https://g.h/x", false},
		{"http://h", "https://h/x", true}, {"http://h:80", "https://h/x", true}, {"http://h:81", "https://h/x", false}, {"http://h", "https://h:444/", false},
	} {
		base, err := url.Parse(c.base)
		to, too := url.Parse(c.to)
		if err != nil || too != nil {
			t.Fatal(err, too)
		}
		if got := New(Options{Base: func() *url.URL { return base }}).Owns(to); got != c.want {
			t.Errorf("%s, %s: %t", c.base, c.to, got)
		}
	}
}

// Nothing leads from https to http, by way of another host neither.
func TestNoWayDown(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *network) {
		n.Serve("r.lab.test:80", "9.9.9.9", redirected(func(*http.Request) string { return "https://a.cdn.test/x" }))
		n.Serve("a.cdn.test:443", "9.9.9.8", redirected(func(*http.Request) string { return "http://b.cdn.test/data" }))
		n.Serve("b.cdn.test:80", "9.9.9.7", texts)
		if _, err := get(t.Context(), n.open("http://r.lab.test"), "a"); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "led from https://a.cdn.test:443 to http://b.cdn.test:80") {
			t.Error(err)
		}
	})
}

// Credentials go to the base alone, also where a redirect comes back to it.
func TestCredentialsStay(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *network) {
		r := n.Serve("r.lab.test:443", "9.9.9.9", redirected(func(*http.Request) string { return "https://a.cdn.test/x" }))
		a := n.Serve("a.cdn.test:443", "9.9.9.8", redirected(func(*http.Request) string { return "https://r.lab.test/data" }))
		if _, err := get(t.Context(), n.open("https://r.lab.test"), "a"); err != nil {
			t.Error(err)
		}
		if got := strings.Join(append(r.Paths(), a.Paths()...), ", "); got != "GET /a secret, GET /data secret, GET /x" {
			t.Error(got)
		}
	})
}
