package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
	"unicode"
)

const (
	dialTimeout   = 10 * time.Second
	tlsTimeout    = 10 * time.Second
	headerTimeout = 30 * time.Second
	makeTimeout   = 5 * time.Minute  // for the header of a manifest or a blob: a registry may have to make it, or fetch it, first
	stallTimeout  = 60 * time.Second // without a byte of a body
	slowTimeout   = 2 * time.Minute  // for less than slowBytes of a body
	slowBytes     = 512 << 10
	idleTimeout   = 90 * time.Second
	pingTimeout   = 15 * time.Second // of a connection by HTTP/2 that is silent: another request must not wait for a dead one
	maxIdle       = 16               // connections, per host
	maxHeader     = 64 << 10         // bytes
	endTimeout    = time.Second      // to read the rest of what is not wanted
	maxRedirects  = 9                // a nixreg that is not ready has eight of them, a proxy in front of it one
	userAgent     = "nixreg"
)

// wire is the only way out. It decides for each request, redirect and connection whether it may go there.
type wire struct {
	address *address
	class   atomic.Uint32 // class of the registry's address, as far as it is known
	proxy   func(*http.Request) (*url.URL, error)
	direct  *http.Transport
	proxied *http.Transport
	// connect dials; tests have networks of their own.
	connect func(ctx context.Context, d *net.Dialer, network, addr string) (net.Conn, error)
}

func newWire(a *address, conf *tls.Config) *wire {
	w := &wire{
		address: a,
		proxy:   http.ProxyFromEnvironment,
		connect: func(ctx context.Context, d *net.Dialer, network, addr string) (net.Conn, error) {
			return d.DialContext(ctx, network, addr)
		},
	}
	if addr, err := netip.ParseAddr(a.hostname()); err == nil {
		w.class.Store(uint32(classOf(addr)))
	}
	w.direct = newTransport(conf)
	w.direct.DialContext = w.dial
	w.proxied = newTransport(conf)
	w.proxied.Proxy = func(r *http.Request) (*url.URL, error) { return w.proxy(r) }
	w.proxied.DialContext = (&net.Dialer{Timeout: dialTimeout}).DialContext // the proxy's address is the user's choice
	return w
}

func newTransport(conf *tls.Config) *http.Transport {
	return &http.Transport{
		TLSClientConfig:        conf.Clone(),
		TLSHandshakeTimeout:    tlsTimeout,
		IdleConnTimeout:        idleTimeout,
		MaxIdleConnsPerHost:    maxIdle,
		MaxIdleConns:           4 * maxIdle,
		MaxResponseHeaderBytes: maxHeader,
		DisableCompression:     true, // a digest is one of bytes as they are
		ForceAttemptHTTP2:      true,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: pingTimeout, PingTimeout: pingTimeout},
		OnProxyConnectResponse: func(_ context.Context, _ *url.URL, _ *http.Request, resp *http.Response) error {
			if resp.StatusCode != http.StatusOK {
				return proxyError(resp.StatusCode)
			}
			return nil
		},
	}
}

// dial connects to the registry, or to another host if its address may be that.
func (w *wire) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	d := &net.Dialer{Timeout: dialTimeout}
	if addr != w.address.origin().host {
		d.Control = func(_, resolved string, _ syscall.RawConn) error {
			ap, err := netip.ParseAddrPort(resolved)
			if err != nil {
				return refusal(fmt.Sprintf("%.100q is no address", resolved))
			}
			return w.admit(classOf(ap.Addr()), addr)
		}
	}
	return w.connect(ctx, d, network, addr)
}

func (w *wire) admit(c class, host string) error {
	if own := class(w.class.Load()); c != public && c != own || c == metadata {
		return refusal(fmt.Sprintf("%.300s has a %s address, to which a registry with a %s one must not lead", host, c, own))
	}
	return nil
}

// A refusal is an error for what the registry wants and must not get. Trying again does not help.
type refusal string

func (r refusal) Error() string { return string(r) }

func isRefusal(err error) bool {
	var r refusal
	return errors.As(err, &r)
}

// check decides whether a request may go to u.
func (w *wire) check(u *url.URL) error {
	own, to := w.address.origin(), originOf(u)
	switch {
	case u.User != nil, u.Hostname() == "", u.Opaque != "":
		return refusal(fmt.Sprintf("led to an address that is none for a registry: %.300s", to))
	case to == own:
		return nil
	case to.host == own.host, to.scheme != "https" && (to.scheme != "http" || own.scheme != "http"):
		return refusal(fmt.Sprintf("led from %s to %.300s", own, to))
	}
	host := strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
	if strings.ContainsFunc(host, func(r rune) bool { return r > unicode.MaxASCII }) { // ① is a 1 to who looks it up
		return refusal(fmt.Sprintf("led to %+.300q, which is not ASCII", u.Hostname()))
	}
	if a, err := netip.ParseAddr(host); err == nil {
		return w.admit(classOf(a), to.host)
	}
	if endsInNumber(host) { // resolvers may take it for an address
		return refusal(fmt.Sprintf("led to %.300s, which is neither a name nor an address", to))
	}
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return w.admit(loopback, to.host)
	}
	return nil
}

// RoundTrip implements [http.RoundTripper].
func (w *wire) RoundTrip(req *http.Request) (*http.Response, error) {
	return w.send(req, headerTimeout)
}

// send waits so long for the header of an answer. It follows redirects; credentials stay with the first host. The
// answer's Request is the one it is an answer to.
func (w *wire) send(req *http.Request, wait time.Duration) (*http.Response, error) {
	seen := map[string]bool{}
	for {
		seen[req.URL.String()] = true
		resp, err := w.hop(req, wait)
		if err != nil || !isRedirect(resp.StatusCode) {
			return resp, err
		}
		discard(resp.Body)
		next, err := follow(req, resp.Header.Get("Location"))
		if err != nil {
			return nil, err
		}
		if seen[next.URL.String()] {
			return nil, refusal(fmt.Sprintf("redirects go round in a circle, at %.300s", originOf(next.URL)))
		}
		if len(seen) > maxRedirects {
			return nil, refusal(fmt.Sprintf("more than %d redirects", maxRedirects))
		}
		req = next
	}
}

func isRedirect(status int) bool {
	switch status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther,
		http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	}
	return false
}

// follow makes the request for where req was sent to.
func follow(req *http.Request, location string) (*http.Request, error) {
	from := originOf(req.URL)
	if req.Method != http.MethodGet && req.Method != http.MethodHead {
		return nil, refusal(fmt.Sprintf("%s redirects a %s", from, req.Method)) // its body has a secret
	}
	if location == "" {
		return nil, refusal(fmt.Sprintf("%s redirects to nowhere", from))
	}
	u, err := req.URL.Parse(location)
	if err != nil {
		return nil, refusal(fmt.Sprintf("%s redirects to what is no URL", from)) // which may hold a secret
	}
	next := req.Clone(req.Context())
	next.URL, next.Host = u, ""
	if originOf(u) != from {
		next.Header.Del("Authorization") // and no later hop gets it back
	}
	return next, nil
}

// hop sends one request to where it may go.
func (w *wire) hop(req *http.Request, wait time.Duration) (*http.Response, error) {
	if err := w.check(req.URL); err != nil {
		return nil, err
	}
	proxy, err := w.proxy(req)
	if err != nil {
		return nil, fmt.Errorf("proxy of the environment: %w", err)
	}
	ctx, transport, peer := req.Context(), w.proxied, net.Addr(nil)
	if proxy == nil {
		transport = w.direct
		ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
			GotConn: func(i httptrace.GotConnInfo) { peer = i.Conn.RemoteAddr() },
		})
	}
	own := originOf(req.URL) == w.address.origin()
	req = req.Clone(ctx)
	req.Header.Set("User-Agent", userAgent)
	req.Header.Set("Accept-Encoding", "identity")
	resp, err := answerTo(req, transport, wait)
	if err != nil {
		return nil, err
	}
	if a, ok := peer.(*net.TCPAddr); ok && own {
		w.class.Store(uint32(classOf(a.AddrPort().Addr()))) // it has answered, and by TLS if that is configured
	}
	return resp, nil
}

// answerTo waits so long for the header of an answer, and watches over the rest.
func answerTo(req *http.Request, t *http.Transport, wait time.Duration) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(req.Context())
	late := time.AfterFunc(wait, func() { cancel(lateError(wait)) })
	resp, err := t.RoundTrip(req.WithContext(ctx))
	switch inTime := late.Stop(); {
	case !inTime: // and yet there may be an answer
		if err == nil {
			resp.Body.Close()
		}
		return nil, lateError(wait)
	case err != nil:
		cancel(nil)
		if err == io.EOF {
			err = errHungUp
		}
		return nil, err
	}
	resp.Body = &watched{ReadCloser: resp.Body, ctx: ctx, cancel: cancel}
	return resp, nil
}

var errHungUp = errors.New("the server hangs up without an answer")

// lateError is for a header that did not come in time. It implements [net.Error].
type lateError time.Duration

func (e lateError) Error() string { return fmt.Sprintf("no answer in %v", time.Duration(e)) }
func (lateError) Timeout() bool   { return true }
func (lateError) Temporary() bool { return true }

var errStalled = fmt.Errorf("no byte for %v, or less than %d KiB in %v", stallTimeout, slowBytes>>10, slowTimeout)

// watched is a body whose request ends when no byte of it has come for stallTimeout, or less than slowBytes for
// slowTimeout. Only the time within Read counts: its reader may be slow.
type watched struct {
	io.ReadCloser
	ctx    context.Context // the request's
	cancel context.CancelCauseFunc
	timer  *time.Timer
	waited time.Duration // for the bytes that came since the last slowBytes were complete
	came   int
}

func (b *watched) Read(p []byte) (int, error) {
	limit := min(stallTimeout, slowTimeout-b.waited)
	if b.timer == nil {
		b.timer = time.AfterFunc(limit, func() { b.cancel(errStalled) })
	} else {
		b.timer.Reset(limit)
	}
	begun := time.Now()
	n, err := b.ReadCloser.Read(p)
	b.timer.Stop()
	b.waited += time.Since(begun)
	if b.came += n; b.came >= slowBytes {
		b.waited, b.came = 0, 0
	}
	if err != nil && err != io.EOF && context.Cause(b.ctx) == errStalled {
		err = errStalled
	}
	return n, err
}

// Close may be called while Read is running, which then ends.
func (b *watched) Close() error {
	b.cancel(context.Canceled)
	return b.ReadCloser.Close()
}

// discard ends a body that is not wanted. A short one that is there is read, so that its connection can be used again.
func discard(body io.ReadCloser) {
	late := time.AfterFunc(endTimeout, func() { body.Close() })
	io.CopyN(io.Discard, body, maxErrorBody)
	late.Stop()
	body.Close()
}
