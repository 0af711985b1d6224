// Package web fetches files that lie below one address: on a web server, or in a bucket of S3.
//
// It owns locations, credentials, content encodings, and what the answers of such servers mean. How requests are sent, and
// where a server may lead to, is the matter of internal/fetch. It must not know what the files are. It trusts no server: its
// callers verify the bytes.
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
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nixreg/nixreg/internal/fetch"
)

const (
	documentTimeout = 30 * time.Second // for the header of the answer
	fileTimeout     = 2 * time.Minute  // the same for a file: a cache that is a proxy may get all of it first
	maxConns        = 160              // per host: maxAsking, maxSlow, and archives
	maxRedirects    = 10
	maxOrigins      = 16      // to which redirects led
	maxAsking       = 32      // small files at once
	maxSlow         = 96      // small files that take longer than slowAfter
	maxTries        = 5       // for one file, without progress between them
	progress        = 4 << 10 // bytes that make up for the tries it took to get them
	maxPEM          = 8 << 20 // bytes
)

// slowAfter is the time after which a small file no longer counts among maxAsking.
const slowAfter = 2 * time.Second

var slow = fetch.Slow{Stall: 30 * time.Second, Limit: 2 * time.Minute, Bytes: 64 << 10}

// Options say what is fetched, and as whom. What the Location's own parameters say counts before the fields of the same
// meaning.
type Options struct {
	Location Location
	// Netrc is a file as curl reads it; it need not be there. "" is none. S3 does not use it.
	Netrc string
	// CAFile has certificates that are trusted beside the system's, in PEM; "" is none.
	CAFile string
	Log    *slog.Logger // nil: no log
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
	fetch    *fetch.Client
	keys     *keyring
	asking   chan struct{} // semaphore of maxAsking
	slow     chan struct{} // semaphore of maxSlow
	// answered is set once a file came: before, to be forbidden is a matter of credentials, not of one file.
	answered atomic.Bool

	sleep func(ctx context.Context, d time.Duration) error // tests replace it

	mu   sync.Mutex // guards seen
	seen []string   // origins to which redirects led
}

// New returns a client. It reads the files of o, and asks the machine for credentials of S3, as long as ctx lasts; the
// address itself is not asked. Errors match fs.ErrInvalid, or are those of reading a file.
func New(ctx context.Context, o Options) (*Client, error) { return newClient(ctx, o, fetch.Options{}) }

func newClient(ctx context.Context, o Options, f fetch.Options) (*Client, error) {
	l := o.Location
	if l.base.Host == "" {
		return nil, fmt.Errorf("web: no location: %w", fs.ErrInvalid)
	}
	c := &Client{
		location: l,
		log:      cmp.Or(o.Log, slog.New(slog.DiscardHandler)),
		asking:   make(chan struct{}, maxAsking),
		slow:     make(chan struct{}, maxSlow),
		sleep:    fetch.Sleep,
	}
	var err error
	if f.TLS, err = tlsConfig(f.TLS, cmp.Or(l.ca, o.CAFile)); err != nil {
		return nil, err
	}
	if c.keys, err = newKeyring(ctx, o, c.log); err != nil {
		return nil, err
	}
	f.Base, f.MaxConns, f.Redirects, f.Slow = func() *url.URL { return &l.base }, maxConns, maxRedirects, slow
	c.fetch = fetch.New(f)
	return c, nil
}

// Close ends the connections that are idle. Bodies stay open until they are closed.
func (c *Client) Close() { c.fetch.Close() }

// tlsConfig adds the certificates in a file to those that conf trusts.
func tlsConfig(conf *tls.Config, file string) (*tls.Config, error) {
	if file == "" {
		return conf, nil
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

// knows reports whether an absolute address is at the base, or at an origin to which a redirect has led.
func (c *Client) knows(u *url.URL) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.fetch.Owns(u) || slices.Contains(c.seen, fetch.Origin(u))
}

// remember makes the origin at the end of redirects known.
func (c *Client) remember(u *url.URL) {
	if c.knows(u) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen = append(c.seen, fetch.Origin(u))
	c.seen = c.seen[max(0, len(c.seen)-maxOrigins):]
}
