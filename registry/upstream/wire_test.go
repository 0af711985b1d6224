package upstream

import (
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
		{"another scheme", "", "file:///etc/passwd", "none for a registry", nil},
		{"a user", "", "https://u:hush@blobs.cdn.test/data", "none for a registry", nil},
		{"no URL", "", "https://blobs.cdn.test:hush/%zz", "what is no URL", nil},
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
				r := n.open(Options{Name: "lab", URL: "https://r.lab.test", Keychain: alice("r.lab.test", "r.lab.test:5000")})
				if tc.url != "" {
					r = n.open(Options{Name: "lab", URL: tc.url, Keychain: alice("r.lab.test", "r.lab.test:5000")})
				}
				lead := redirected(func(*http.Request) string { return tc.to })
				own := n.serve(r.address.origin().host, "9.9.9.9", func(w http.ResponseWriter, q *http.Request) {
					guarded(`Basic realm="x"`, always(aliceBasic))(&onlyHeader{w, func() { lead(w, q) }}, q)
				})
				var others []*host
				for name, ip := range map[string]string{
					"blobs.cdn.test:443": "9.9.9.7", "blobs.cdn.test:80": "9.9.9.7", "blobs.lab.test:443": "9.9.9.8",
					"internal.cdn.test:443": "192.168.0.1", "metadata.cdn.test:443": "169.254.169.254", "r.lab.test:80": "9.9.9.9",
				} {
					others = append(others, n.serve(name, ip, documents(document1)))
				}
				_, err := r.Manifest(t.Context(), "a", "b")
				if (err == nil) != (tc.text == "") || err != nil && (!strings.Contains(err.Error(), tc.text) || strings.Contains(err.Error(), "hush")) {
					t.Errorf("%v; want %q", err, tc.text)
				}
				var asked []string
				for _, h := range others {
					asked = append(asked, h.paths()...)
				}
				if !slices.Equal(asked, tc.asks) {
					t.Errorf("others were asked for %q", asked)
				}
				if len(own.saw()) > 3 {
					t.Errorf("asked %q", own.paths())
				}
				if len(n.dialed) > 1+len(tc.asks) {
					t.Errorf("connected to %q", n.dialed)
				}
			})
		})
	}
}

// onlyHeader hands an answer with a document on to then.
type onlyHeader struct {
	http.ResponseWriter
	then func()
}

func (o *onlyHeader) Write(p []byte) (int, error) {
	if strings.Contains(string(p), "schemaVersion") {
		for k := range o.Header() {
			o.Header().Del(k)
		}
		o.then()
		return len(p), nil
	}
	return o.ResponseWriter.Write(p)
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
			h := n.serve("r.lab.test:443", "9.9.9.9", redirected(func(r *http.Request) string {
				var i int
				fmt.Sscan(r.URL.Query().Get("i"), &i)
				return fmt.Sprintf("/x?i=%d", tc.next(i))
			}))
			_, err := n.open(Options{Name: "r.lab.test"}).Manifest(t.Context(), "a", "b")
			if err == nil || !strings.Contains(err.Error(), tc.text) || len(h.saw()) > tc.asked+1 {
				t.Errorf("%s: %v after %d", tc.name, err, len(h.saw()))
			}
		})
	}
}

// A registry of this machine or network may lead to its own kind.
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
			n.serve("r.lab.test:443", tc.own, redirected(func(*http.Request) string { return "https://blobs.cdn.test/data" }))
			n.serve("blobs.cdn.test:443", tc.other, documents(document1))
			_, err := n.open(Options{Name: "r.lab.test"}).Manifest(t.Context(), "a", "b")
			if (err == nil) != tc.ok || len(n.dialed) > 1 != tc.ok {
				t.Errorf("%v: %v, connected to %q", tc, err, n.dialed)
			}
		})
	}
}

// What the registry leads to says nothing about the registry's own class.
func TestClassIsTheRegistrys(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *network) {
		n.serve("r.lab.test:443", "127.0.0.1", redirected(func(*http.Request) string { return "https://a.cdn.test/x" }))
		n.serve("a.cdn.test:443", "9.9.9.9", redirected(func(*http.Request) string { return "https://b.cdn.test/data" }))
		n.serve("b.cdn.test:443", "127.0.0.1", documents(document1))
		if _, err := n.open(Options{Name: "r.lab.test"}).Manifest(t.Context(), "a", "b"); err != nil {
			t.Error(err)
		}
	})
}

// A name that changes its address is judged by the address that is dialled.
func TestRebinding(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *network) {
		n.serve("r.lab.test:443", "9.9.9.9", redirected(func(*http.Request) string { return "https://blobs.cdn.test/data" }))
		h := n.serve("blobs.cdn.test:443", "9.9.9.8", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Connection", "close")
			documents(document1)(w, r)
		})
		r := n.open(Options{Name: "r.lab.test"})
		if _, err := r.Manifest(t.Context(), "a", "b"); err != nil {
			t.Fatal(err)
		}
		r.wire.direct.CloseIdleConnections()
		h.addr = netip.MustParseAddrPort("127.0.0.1:443")
		if _, err := r.Manifest(t.Context(), "a", "b"); err == nil || !strings.Contains(err.Error(), "loopback") {
			t.Error(err)
		}
	})
}

// A token server is judged as a redirect is.
func TestRealmIsJudged(t *testing.T) {
	for realm, text := range map[string]string{
		"https://169.254.169.254/token": "metadata", "https://u:hush@auth.lab.test/token": "none for a registry", "https://10.0.0.1/token": "private", "http://auth.lab.test/token": "http",
		"https://internal.cdn.test/token": "private", "https://moved.cdn.test/token": "led from", "ftp://auth.lab.test/": "ftp",
	} {
		inNetwork(t, func(t *testing.T, n *network) {
			n.serve("r.lab.test:443", "9.9.9.9", guarded(`Bearer realm="`+realm+`"`, always("never")))
			n.serve("internal.cdn.test:443", "10.0.0.2", documents(document1))
			n.serve("moved.cdn.test:443", "9.9.9.8", redirected(func(*http.Request) string { return "http://blobs.cdn.test/data" }))
			_, err := n.open(Options{Name: "r.lab.test"}).Manifest(t.Context(), "a", "b")
			if err == nil || !strings.Contains(err.Error(), text) || slices.ContainsFunc(n.dialed, func(s string) bool { return !strings.HasPrefix(s, "9.9.9.") }) {
				t.Errorf("%s: %v, connected to %q", realm, err, n.dialed)
			}
		})
	}
}

// The dialer itself refuses, not only a test's.
func TestDialer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for name, ok := range map[string]bool{"https://quay.io": false, "http://127.0.0.9": true, "http://" + l.Addr().String(): true} {
		r, err := New(Options{Name: "lab", URL: name})
		if err != nil {
			t.Fatal(err)
		}
		c, err := r.wire.direct.DialContext(t.Context(), "tcp", l.Addr().String())
		if (err == nil) != ok || err != nil && !isRefusal(err) {
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
			n.serve("r.lab.test:5000", "9.9.9.9", documents(document1))
			n.serve("r.lab.test:80", "9.9.9.9", documents(document1))
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
		n.serve("r.other.test:443", "9.9.9.9", documents(document1))
		h := n.serve("r.other.test:80", "9.9.9.9", documents(document1))
		_, err := n.open(Options{Name: "r.other.test", AllowHTTP: true}).Manifest(t.Context(), "a", "b")
		if !errors.Is(err, ErrCertificate) || len(h.saw()) != 0 {
			t.Errorf("%v after %q", err, n.dialed)
		}
	})
}

func TestCertificates(t *testing.T) {
	for _, skip := range []bool{false, true} {
		inNetwork(t, func(t *testing.T, n *network) {
			h := n.serve("r.other.test:443", "9.9.9.9", documents(document1))
			_, err := n.open(Options{Name: "r.other.test", SkipVerify: skip}).Manifest(t.Context(), "a", "b")
			if (err == nil) != skip || !skip && (!strings.Contains(err.Error(), "certificate") || len(n.dialed) != 1 || len(h.saw()) != 0) {
				t.Errorf("%v after %q", err, n.dialed)
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

// The connection of a short answer is used again, whatever its status.
func TestConnectionsAreReused(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *network) {
		n.serve("r.lab.test:80", "9.9.9.9", status(404, strings.Repeat("x", 10000)))
		r := n.open(Options{Name: "lab", URL: "http://r.lab.test"})
		for range 5 {
			if _, err := r.Manifest(t.Context(), "a", "b"); err == nil {
				t.Fatal("found")
			}
		}
		if len(n.dialed) != 1 {
			t.Errorf("connected %d times", len(n.dialed))
		}
	})
}

// Wherever a registry leads to, it is no address of a special kind, and no less protected.
func FuzzCheck(f *testing.F) {
	for _, s := range []string{"https://127.0.0.1/", "https://[::ffff:10.0.0.1]:5000/", "https://0x7f000001", "http://quay.io", "https://localhost.", "//x", "https://u@x", "https://127.0.0.①/"} {
		f.Add(s)
	}
	r, err := New(Options{Name: "quay.io"})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, s string) {
		u, err := url.Parse(s)
		if err != nil || r.wire.check(u) != nil {
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
