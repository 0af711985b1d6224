package web

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	dialTimeout     = 10 * time.Second // with the name, whose first server may be dead
	tlsTimeout      = 10 * time.Second
	documentTimeout = 30 * time.Second // for the header of the answer
	fileTimeout     = 2 * time.Minute  // so too: a cache that is a proxy may get all of a file first
	stallTimeout    = 30 * time.Second // without a byte of a body
	slowTimeout     = 2 * time.Minute  // for less than slowBytes of a body
	slowBytes       = 64 << 10
	endTimeout      = time.Second // to read the rest of what is not wanted
	idleTimeout     = 90 * time.Second
	pingTimeout     = 15 * time.Second // of a silent connection by HTTP/2: another request must not wait for a dead one
	maxConns        = 32               // per host
	maxHeader       = 64 << 10         // bytes
	maxRedirects    = 10
	maxOrigins      = 16
	maxPEM          = 8 << 20 // bytes
)

// wire sends requests and follows redirects.
type wire struct {
	transport *http.Transport
	base      url.URL
	watch     watch // tests replace it

	mu   sync.Mutex // guards seen
	seen []origin   // to which redirects led
}

func newWire(base url.URL, conf *tls.Config) *wire {
	return &wire{base: base, watch: afterFunc, transport: &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSClientConfig:        conf,
		TLSHandshakeTimeout:    tlsTimeout,
		IdleConnTimeout:        idleTimeout,
		MaxConnsPerHost:        maxConns,
		MaxIdleConnsPerHost:    maxConns,
		MaxIdleConns:           2 * maxConns,
		MaxResponseHeaderBytes: maxHeader,
		DisableCompression:     true, // a hash is one of bytes as they are
		ForceAttemptHTTP2:      true,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: pingTimeout, PingTimeout: pingTimeout},
		OnProxyConnectResponse: func(_ context.Context, _ *url.URL, _ *http.Request, resp *http.Response) error {
			if resp.StatusCode != http.StatusOK {
				return &denied{status: resp.StatusCode, proxy: true}
			}
			return nil
		},
	}}
}

// tlsConfig trusts the system's certificates, and those in a file.
func tlsConfig(file string) (*tls.Config, error) {
	if file == "" {
		return &tls.Config{}, nil
	}
	pem, err := readFile(file, maxPEM)
	if err != nil {
		return nil, fmt.Errorf("certificates: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("certificates: %s has none in PEM: %w", file, fs.ErrInvalid)
	}
	return &tls.Config{RootCAs: pool}, nil
}

// readFile returns all of a file, if it is not too large.
func readFile(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%s: larger than %d bytes: %w", name, limit, fs.ErrInvalid)
	}
	return b, err
}

// A refusal is an error for what a server wants and must not get. Trying again does not help.
type refusal string

func (r refusal) Error() string { return string(r) }

// origin is a scheme, a host and a port.
type origin struct{ scheme, host, port string }

func originOf(u *url.URL) origin {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return origin{u.Scheme, strings.TrimSuffix(strings.ToLower(u.Hostname()), "."), port}
}

// own reports whether u is at the host whose credentials there are: that of the address, or the same one by HTTPS.
func (w *wire) own(u *url.URL) bool {
	base, to := originOf(&w.base), originOf(u)
	return to == base || base == origin{"http", to.host, "80"} && to == origin{"https", base.host, "443"}
}

// knows reports whether an absolute address is at the base, or where one of its redirects has led.
func (w *wire) knows(u *url.URL) bool {
	if w.own(u) {
		return true
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	to := originOf(u)
	for _, o := range w.seen {
		if o == to {
			return true
		}
	}
	return false
}

// remember makes the end of redirects known.
func (w *wire) remember(u *url.URL) {
	if w.knows(u) {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen = append(w.seen, originOf(u))
	w.seen = w.seen[max(0, len(w.seen)-maxOrigins):]
}

// send sends a request, and follows redirects; wait is for the header of each answer. authorize is called for each request
// to the base's own host, and none else. The answer's Request is the one it is an answer to.
func (w *wire) send(req *http.Request, wait time.Duration, authorize func(*http.Request) error) (*http.Response, error) {
	for hops := 0; ; hops++ {
		plain := req.Clone(req.Context())
		if w.own(req.URL) {
			if err := authorize(req); err != nil {
				return nil, err
			}
		}
		resp, err := w.hop(req, wait)
		if err != nil {
			return nil, err
		}
		location := resp.Header.Get("Location")
		if !isRedirect(resp.StatusCode) || location == "" || w.leadsAstray(req, resp) {
			return resp, nil
		}
		discard(resp.Body)
		if hops == maxRedirects {
			return nil, refusal(fmt.Sprintf("more than %d redirects", maxRedirects))
		}
		if req, err = follow(plain, location); err != nil {
			return nil, err
		}
	}
}

// leadsAstray reports whether S3 sends a signed request to another host, where the bucket is: the signature is not good
// there, and without one it would be denied.
func (w *wire) leadsAstray(req *http.Request, resp *http.Response) bool {
	to, err := req.URL.Parse(resp.Header.Get("Location"))
	signed := strings.HasPrefix(req.Header.Get("Authorization"), "AWS4-")
	return signed && err == nil && !w.own(to) && resp.Header.Get(regionHeader) != ""
}

// hop sends one request, and watches over its answer. Waiting for a connection is not waiting for the server.
func (w *wire) hop(req *http.Request, wait time.Duration) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(req.Context())
	var decided atomic.Bool // whether the header came in time
	late := time.AfterFunc(never, func() {
		if decided.CompareAndSwap(false, true) {
			cancel(lateError(wait))
		}
	})
	sent := &httptrace.ClientTrace{WroteRequest: func(httptrace.WroteRequestInfo) { late.Reset(wait) }}
	resp, err := w.transport.RoundTrip(req.WithContext(httptrace.WithClientTrace(ctx, sent)))
	late.Stop()
	switch inTime := decided.CompareAndSwap(false, true); {
	case !inTime:
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
	resp.Body = &watched{ReadCloser: resp.Body, watch: w.watch, ctx: ctx, cancel: cancel}
	return resp, nil
}

const never = 1<<63 - 1

var errHungUp = errors.New("the server hangs up without an answer")

// lateError is for a header that did not come in time. It implements [net.Error].
type lateError time.Duration

func (e lateError) Error() string { return fmt.Sprintf("no answer in %v", time.Duration(e)) }
func (lateError) Timeout() bool   { return true }
func (lateError) Temporary() bool { return true }

func isRedirect(status int) bool {
	switch status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther,
		http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	}
	return false
}

// follow makes the request for where req, which has no credentials, was sent to.
func follow(req *http.Request, location string) (*http.Request, error) {
	u, err := req.URL.Parse(location)
	if err != nil || u.Hostname() == "" || u.User != nil || u.Scheme != "http" && u.Scheme != "https" {
		return nil, refusal("redirects to what is no address for a file") // it may hold a secret
	}
	if req.URL.Scheme == "https" && u.Scheme != "https" {
		return nil, refusal(fmt.Sprintf("redirects from https to http, at %.100q", u.Host))
	}
	next := req.Clone(req.Context())
	u.Fragment = ""
	next.URL, next.Host = u, u.Host
	return next, nil
}

// discard ends a body that is not wanted. A short one that is there is read, so that its connection can be used again.
func discard(body io.ReadCloser) {
	late := time.AfterFunc(endTimeout, func() { body.Close() })
	io.CopyN(io.Discard, body, maxErrorBody)
	late.Stop()
	body.Close()
}

// A watch calls stalled unless it is stopped in time.
type watch func(limit time.Duration, stalled func()) (stop func())

func afterFunc(limit time.Duration, stalled func()) (stop func()) {
	t := time.AfterFunc(limit, stalled)
	return func() { t.Stop() }
}

var errStalled = errors.New("no more bytes come, or too slowly")

// watched is a body whose request ends when no byte of it comes for stallTimeout, or less than slowBytes for slowTimeout.
// Only the time within Read counts: its reader may be slow.
type watched struct {
	io.ReadCloser
	watch  watch
	ctx    context.Context // the request's
	cancel context.CancelCauseFunc
	waited time.Duration // for the bytes that came since the last slowBytes were complete
	came   int
}

func (b *watched) Read(p []byte) (int, error) {
	stop := b.watch(min(stallTimeout, slowTimeout-b.waited), func() { b.cancel(errStalled) })
	begun := time.Now()
	n, err := b.ReadCloser.Read(p)
	stop()
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
