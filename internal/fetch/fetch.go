// Package fetch is the one HTTP client of nixreg. It reads from one server, the base, and from servers to which the base leads.
//
// It owns connections and their limits, the rules where a server may lead to, redirects, deadlines, tries, bodies that go on
// after a cut, and kinds of errors. It must not know the purpose of a request: neither Nix nor registries. Its types stay inside
// the packages that use it.
//
//	c := fetch.New(fetch.Options{Base: func() *url.URL { return base }, Redirects: 10, Slow: fetch.Slow{...}})
//	resp, err := c.Send(fetch.Request{Request: req, Wait: 30 * time.Second, Sign: sign})
//
// # Where it connects to
//
// The target of a redirect, and any other URL, must be https; it may be http if the base is http. No redirect leads from https
// to http. The address of the target must be public, or of the class that the address of the base has: this machine, a private
// network, link-local and so on. It is never the metadata service of a cloud. The address that is dialled decides, not the
// name. A proxy of the environment dials by itself: behind a proxy, only names and literal addresses can be judged.
//
// # Who gets credentials
//
// [Request.Sign] is called for each request to the origin of the base, and for no other. The origin is the scheme, host and
// port; a base at http with the default port also owns its host at https.
//
// # What is too slow
//
// The header of an answer must come within [Request.Wait] after the request was sent; the time to connect does not count. A body
// must keep to [Slow]. Time in which the reader does not read does not count.
package fetch

import (
	"cmp"
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
	"unicode"

	"golang.org/x/net/http/httpproxy"
)

const (
	dialTimeout  = 10 * time.Second // with the lookup of the name, whose first server may be dead
	tlsTimeout   = 10 * time.Second
	idleTimeout  = 90 * time.Second
	pingTimeout  = 15 * time.Second // of a silent connection by HTTP/2: another request must not wait for a dead one
	maxIdle      = 32               // connections, per host
	maxHeader    = 64 << 10         // bytes
	maxErrorBody = 64 << 10         // bytes that are read of an answer that is an error
	userAgent    = "nixreg"
	endTimeout   = time.Second // to read the rest of a body that is not wanted
)

// Options name the base, and say how to read from it. Base, Redirects and Slow must be set.
type Options struct {
	// Base returns the URL of the server, of which scheme and host are used. It may change from https to http while the
	// caller finds out the scheme.
	Base      func() *url.URL
	TLS       *tls.Config // nil: the certificates of the system
	MaxConns  int         // per host; 0 is any number
	Redirects int         // that are followed for one request
	Slow      Slow
	Now       func() time.Time // the clock for dates in headers; nil is [time.Now]
	// Proxy finds the proxy for a request; nil is that of HTTPS_PROXY, HTTP_PROXY or ALL_PROXY, unless NO_PROXY has the host.
	Proxy func(*http.Request) (*url.URL, error)
	// Connect connects, with the dialer's Control; nil is d.DialContext. Tests have networks of their own.
	Connect func(ctx context.Context, d *net.Dialer, network, addr string) (net.Conn, error)
}

// Slow says when a body is too slow: no byte comes for Stall, or less than Bytes come in Limit.
type Slow struct {
	Stall, Limit time.Duration
	Bytes        int
}

// Client reads from one server. It is safe for concurrent use. Idle connections end by themselves, or by Close.
type Client struct {
	options         Options
	class           atomic.Uint32 // of the base's address, as far as it is known
	direct, proxied *http.Transport
}

// environmentProxy is [http.ProxyFromEnvironment] with ALL_PROXY, which curl and Nix know.
func environmentProxy() func(*http.Request) (*url.URL, error) {
	c := httpproxy.FromEnvironment()
	all := cmp.Or(os.Getenv("ALL_PROXY"), os.Getenv("all_proxy"))
	c.HTTPProxy, c.HTTPSProxy = cmp.Or(c.HTTPProxy, all), cmp.Or(c.HTTPSProxy, all)
	find := c.ProxyFunc()
	return func(r *http.Request) (*url.URL, error) { return find(r.URL) }
}

// New returns a Client. It connects to nothing.
func New(o Options) *Client {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Proxy == nil {
		o.Proxy = environmentProxy()
	}
	if o.Connect == nil {
		o.Connect = func(ctx context.Context, d *net.Dialer, network, addr string) (net.Conn, error) {
			return d.DialContext(ctx, network, addr)
		}
	}
	c := &Client{options: o}
	if addr, err := netip.ParseAddr(o.Base().Hostname()); err == nil {
		c.class.Store(uint32(classOf(addr)))
	}
	c.direct, c.proxied = newTransport(o), newTransport(o)
	c.direct.DialContext = c.dial
	c.proxied.Proxy = o.Proxy
	c.proxied.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		return o.Connect(ctx, &net.Dialer{Timeout: dialTimeout}, network, addr) // the proxy's address is the user's choice
	}
	return c
}

func newTransport(o Options) *http.Transport {
	return &http.Transport{
		TLSClientConfig:        o.TLS.Clone(),
		TLSHandshakeTimeout:    tlsTimeout,
		IdleConnTimeout:        idleTimeout,
		MaxConnsPerHost:        o.MaxConns,
		MaxIdleConnsPerHost:    maxIdle,
		MaxIdleConns:           2 * maxIdle,
		MaxResponseHeaderBytes: maxHeader,
		DisableCompression:     true, // a digest is one of bytes as they are
		ForceAttemptHTTP2:      true,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: pingTimeout, PingTimeout: pingTimeout},
		OnProxyConnectResponse: func(_ context.Context, _ *url.URL, _ *http.Request, resp *http.Response) error {
			if resp.StatusCode != http.StatusOK {
				return &Error{Kind: ErrProxy, Status: resp.StatusCode, text: "the proxy answers " + statusText(resp.StatusCode)}
			}
			return nil
		},
	}
}

// Close ends the connections that are idle.
func (c *Client) Close() {
	c.direct.CloseIdleConnections()
	c.proxied.CloseIdleConnections()
}

// Owns reports whether an address is at the origin of the base, which gets the credentials.
func (c *Client) Owns(u *url.URL) bool {
	base, to := originOf(c.options.Base()), originOf(u)
	if to == base {
		return true
	}
	host, ok := strings.CutSuffix(base.host, ":80")
	return ok && base.scheme == "http" && to == origin{"https", host + ":443"}
}

// Check reports, by an error matching [ErrRefused], whether the base may lead to an address, as far as its name tells.
func (c *Client) Check(u *url.URL) error { return c.check(c.options.Base(), u) }

// check decides whether an answer of from may lead to u.
func (c *Client) check(from, u *url.URL) error {
	base, to := originOf(c.options.Base()), originOf(u)
	switch {
	case u.User != nil, u.Hostname() == "", u.Opaque != "", to.scheme != "https" && to.scheme != "http":
		return refusal("led to what is no address of a server: %.300s", to)
	case to.scheme == "http" && (base.scheme != "http" || from.Scheme != "http"), to.host == base.host && to != base:
		return refusal("led from %.300s to %.300s", originOf(from), to)
	case c.Owns(u):
		return nil
	}
	host := strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
	if strings.ContainsFunc(host, func(r rune) bool { return r > unicode.MaxASCII }) { // the lookup takes ① for a 1
		return refusal("led to %+.300q, which is not ASCII", u.Hostname())
	}
	if a, err := netip.ParseAddr(host); err == nil {
		return c.admit(classOf(a), to.host)
	}
	if EndsInNumber(host) { // resolvers may take it for an address
		return refusal("led to %.300s, which is neither a name nor an address", to)
	}
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return c.admit(loopback, to.host)
	}
	return nil
}

// admit decides whether the base may lead to a host whose address is of this class.
func (c *Client) admit(k class, host string) error {
	if own := class(c.class.Load()); k != public && k != own || k == metadata {
		return refusal("%.300s has a %s address, to which a server with a %s one must not lead", host, k, own)
	}
	return nil
}

// ownKey is the context key of a bool: the request goes to the origin of the base. It is the same for all requests of a connection.
type ownKey struct{}

// dial connects to the base, or to another host whose address is admitted.
func (c *Client) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	d := &net.Dialer{Timeout: dialTimeout}
	if own, _ := ctx.Value(ownKey{}).(bool); !own {
		d.Control = func(_, resolved string, _ syscall.RawConn) error {
			ap, err := netip.ParseAddrPort(resolved)
			if err != nil {
				return refusal("%.100q is no address", resolved)
			}
			return c.admit(classOf(ap.Addr()), addr)
		}
	}
	return c.options.Connect(ctx, d, network, addr)
}
