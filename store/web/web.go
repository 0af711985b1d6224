// Package web fetches files that lie below one address: on a web server, or in a bucket of S3.
//
// It owns the wire: addresses, credentials, tries, redirects, and bodies that go on after a cut. It must not know what the
// files are, and trusts no server with more than their bytes: whoever uses them verifies them.
//
//	where, rest, err := web.ParseLocation("https://cache.example.org/team?netrc-file=/etc/nix/netrc")
//	c, err := web.New(ctx, web.Options{Location: where, Log: log})
//	defer c.Close()
//	info, err := c.Get(ctx, "nix-cache-info", 64<<10)
//	body, err := c.Open(ctx, "nar/1w1f….nar.xz")
package web

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"time"
)

const (
	defaultAgent = "nixreg"
	maxAsking    = 32 // small files at once
)

// Options say what is fetched, and as whom. What the Location's own parameters say counts before the fields of the same
// meaning.
type Options struct {
	Location Location
	// Netrc is a file as curl reads it; it need not be there. "" is none. S3 does not use it.
	Netrc string
	// CAFile has certificates that are trusted beside the system's, in PEM; "" is none.
	CAFile    string
	Log       *slog.Logger // nil: no log
	UserAgent string       // "" is nixreg
}

// Client fetches the files below one address. Safe for concurrent use.
//
// Errors of its methods match [fs.ErrNotExist] for a file that is not there, [fs.ErrInvalid] for a name that is none, and
// [store.ErrUnavailable] for all else but the end of a context; that of refused or unreadable credentials matches
// [fs.ErrPermission] as well. One that matches fs.ErrPermission alone is about a file that the server forbids, after it gave
// others: some servers say that of files that are not there. A RetryAfter method tells for how long the server wants to be
// left alone, if it said so with 408, 425, 429 or 503. None has a credential in its text.
type Client struct {
	location Location
	log      *slog.Logger
	agent    string
	wire     *wire
	keys     *keyring
	asking   chan struct{} // has a place for each small file that is asked for
	// answered is set once a file came: before, to be forbidden is a matter of credentials, not of one file.
	answered atomic.Bool

	// What tests replace.
	sleep func(ctx context.Context, d time.Duration) error
	now   func() time.Time
}

// New returns a client. It reads the files of o, and asks the machine for credentials of S3, as long as ctx lasts; the
// address itself is not asked. Errors match fs.ErrInvalid, or are those of reading a file.
func New(ctx context.Context, o Options) (*Client, error) {
	l := o.Location
	if l.base.Host == "" {
		return nil, fmt.Errorf("web: no location: %w", fs.ErrInvalid)
	}
	conf, err := tlsConfig(cmp.Or(l.ca, o.CAFile))
	if err != nil {
		return nil, err
	}
	c := &Client{
		location: l,
		log:      cmp.Or(o.Log, slog.New(slog.DiscardHandler)),
		agent:    cmp.Or(o.UserAgent, defaultAgent),
		wire:     newWire(l.base, conf),
		asking:   make(chan struct{}, maxAsking),
		sleep:    sleep,
		now:      time.Now,
	}
	if c.keys, err = newKeyring(ctx, o, c.log); err != nil {
		return nil, err
	}
	return c, nil
}

// Close ends the connections that are idle. Bodies stay open until they are closed.
func (c *Client) Close() { c.wire.transport.CloseIdleConnections() }

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// backoff is how long to wait after the n-th try in vain: 0.25 s, 0.5 s, 1 s and so on, and up to half of it more.
func backoff(n int) time.Duration {
	d := min(250*time.Millisecond<<(min(n, 16)-1), maxBackoff)
	return d + rand.N(d/2)
}

// request makes that for a file.
func (c *Client) request(ctx context.Context, q query) *http.Request {
	r := &http.Request{Method: http.MethodGet, URL: q.target, Header: q.header.Clone(), Host: q.target.Host}
	if r.Header == nil {
		r.Header = http.Header{}
	}
	r.Header.Set("User-Agent", c.agent)
	r.Header.Set("Accept-Encoding", "identity") // bytes are wanted as they are stored
	return r.WithContext(ctx)
}
