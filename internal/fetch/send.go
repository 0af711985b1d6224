package fetch

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync/atomic"
	"time"
)

// Request is a request, and how it is sent.
type Request struct {
	*http.Request
	// Wait bounds the time from the end of sending to the header of the answer, for each redirect anew.
	Wait time.Duration
	// Sign adds credentials to the header of a request to the base; nil adds none. Its errors are returned as they are.
	Sign func(*http.Request) error
	// Stay reports whether a redirect is not to be followed; nil follows all.
	Stay func(*http.Response) bool
}

// Send sends a request once, and follows redirects. The status of the answer is 200, or 206 or 416 for a request with Range, or
// 304 for a request with a condition. Any other answer, and the lack of one, is an [*Error]. The caller closes the body. The
// Request of the answer is the last one that was sent.
func (c *Client) Send(r Request) (*http.Response, error) {
	original := r.Request
	if original.Body != nil {
		defer original.Body.Close()
	}
	from, seen := c.options.Base(), map[string]bool{}
	for {
		seen[r.URL.String()] = true
		resp, err := c.hop(r, from)
		if err != nil {
			return nil, err
		}
		location, redirected := resp.Header.Get("Location"), isRedirect(resp.StatusCode)
		switch {
		case wanted(r.Request, resp.StatusCode):
			return resp, nil
		case !redirected, location == "", r.Stay != nil && r.Stay(resp):
			return nil, c.answered(resp)
		}
		discard(resp.Body)
		u, err := r.URL.Parse(location)
		switch from = r.URL; {
		case r.Method != http.MethodGet && r.Method != http.MethodHead: // its body has a secret
			return nil, refusal("%.300s redirects a %s", originOf(from), r.Method)
		case err != nil: // the text of net/url may have a secret
			return nil, refusal("led to what is no address of a server, by %.300s", originOf(from))
		}
		u.Fragment = ""
		switch {
		case seen[u.String()]:
			return nil, refusal("redirects go round in a circle, at %.300s", originOf(u))
		case len(seen) > c.options.Redirects:
			return nil, refusal("more than %d redirects", c.options.Redirects)
		}
		r.Request = original.Clone(original.Context())
		r.URL, r.Host = u, ""
	}
}

// answered makes an Error of an answer, and closes its body.
func (c *Client) answered(resp *http.Response) *Error {
	defer resp.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody)) // an incomplete one will do
	e := &Error{
		Status: resp.StatusCode, Header: resp.Header, Body: body, text: statusText(resp.StatusCode),
		RetryAfter: parseRetryAfter(resp.Header.Get("Retry-After"), c.options.Now()),
	}
	if to, err := resp.Location(); err == nil {
		e.Location = to.String()
	}
	if !c.Owns(resp.Request.URL) {
		e.Elsewhere = Printable(originOf(resp.Request.URL).host)
	}
	return e
}

// wanted reports whether a status is what a request asks for.
func wanted(r *http.Request, status int) bool {
	switch status {
	case http.StatusOK:
		return true
	case http.StatusPartialContent, http.StatusRequestedRangeNotSatisfiable:
		return r.Header.Get("Range") != ""
	case http.StatusNotModified:
		return r.Header.Get("If-None-Match") != "" || r.Header.Get("If-Modified-Since") != ""
	}
	return false
}

func isRedirect(status int) bool {
	switch status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther,
		http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	}
	return false
}

const never = 1<<63 - 1

// hop sends one request, if it may go there, without following redirects.
func (c *Client) hop(r Request, from *url.URL) (*http.Response, error) {
	if err := c.check(from, r.URL); err != nil {
		return nil, err
	}
	proxy, err := c.options.Proxy(r.Request)
	if err != nil {
		return nil, &Error{Kind: ErrProxy, text: "the proxy of the environment: " + Printable(err.Error())}
	}
	own := c.Owns(r.URL)
	ctx, cancel := context.WithCancelCause(context.WithValue(r.Context(), ownKey{}, own))
	var decided atomic.Bool // whether the header came in time
	late := time.AfterFunc(never, func() {
		if decided.CompareAndSwap(false, true) {
			cancel(context.DeadlineExceeded)
		}
	})
	var peer net.Addr
	req := r.Clone(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn:      func(i httptrace.GotConnInfo) { peer = i.Conn.RemoteAddr() },
		WroteRequest: func(httptrace.WroteRequestInfo) { late.Reset(r.Wait) },
	}))
	req.Header.Set("User-Agent", userAgent)
	req.Header.Set("Accept-Encoding", "identity") // bytes are wanted as they are stored
	if own && r.Sign != nil {
		if err := r.Sign(req); err != nil {
			cancel(nil)
			return nil, err
		}
	}
	transport := c.proxied
	if proxy == nil {
		transport = c.direct
	}
	resp, err := transport.RoundTrip(req)
	late.Stop()
	if inTime := decided.CompareAndSwap(false, true); !inTime {
		if err == nil {
			resp.Body.Close()
		}
		return nil, &Error{Kind: ErrTimeout, text: fmt.Sprintf("no answer in %v", r.Wait)}
	}
	if err != nil {
		cancel(nil)
		return nil, fault(err)
	}
	if a, ok := peer.(*net.TCPAddr); ok && own && proxy == nil {
		c.class.Store(uint32(classOf(a.AddrPort().Addr()))) // this is the base: it has answered, by TLS if that is configured
	}
	resp.Body = &watched{ReadCloser: resp.Body, slow: c.options.Slow, ctx: ctx, cancel: cancel}
	return resp, nil
}

// watched is a body that ends its request when it is too slow. Only the time within Read counts: the reader may be slow.
type watched struct {
	io.ReadCloser
	slow   Slow
	ctx    context.Context // the request's
	cancel context.CancelCauseFunc
	timer  *time.Timer
	waited time.Duration // for the bytes in came
	came   int
}

func (b *watched) Read(p []byte) (int, error) {
	limit := min(b.slow.Stall, b.slow.Limit-b.waited)
	if b.timer == nil {
		b.timer = time.AfterFunc(limit, func() { b.cancel(ErrCut) })
	} else {
		b.timer.Reset(limit)
	}
	begun := time.Now()
	n, err := b.ReadCloser.Read(p)
	b.timer.Stop()
	b.waited += time.Since(begun)
	if b.came += n; b.came >= b.slow.Bytes {
		b.waited, b.came = 0, 0
	}
	if err != nil && err != io.EOF && context.Cause(b.ctx) == ErrCut {
		err = fmt.Errorf("no byte for %v, or less than %d KiB in %v", b.slow.Stall, b.slow.Bytes>>10, b.slow.Limit)
	}
	return n, err
}

// Close may be called while Read is running, and ends it.
func (b *watched) Close() error {
	b.cancel(context.Canceled)
	return b.ReadCloser.Close()
}

// discard closes a body that nobody reads. It reads a short one to the end, so that its connection can be used again.
func discard(body io.ReadCloser) {
	late := time.AfterFunc(endTimeout, func() { body.Close() })
	io.CopyN(io.Discard, body, maxErrorBody)
	late.Stop()
	body.Close()
}
