// Package web fetches files that lie below one address: on a web server, or in a bucket of S3.
//
// It owns locations, credentials, content encodings, and the meaning of the servers' answers. internal/fetch sends the requests
// and decides where a server may lead to. The package must not know the purpose of the files. It trusts no server: its callers
// verify the bytes.
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

// Options say what to fetch, and with which credentials. The parameters of the Location come before the fields of the same
// meaning.
type Options struct {
	Location Location
	// Netrc is the name of a file in curl's format, which may be absent. "" means none. S3 does not use it.
	Netrc string
	// CAFile is the name of a PEM file of certificates to trust beside those of the system; "" means none.
	CAFile string
	Log    *slog.Logger // nil: no log
}

// Client fetches the files below one address. Safe for concurrent use.
//
// Errors of its methods match [fs.ErrNotExist] for an absent file, [fs.ErrInvalid] for an invalid name, the error of a context
// that ends, [store.ErrTooLarge] for a file over its limit, and [store.ErrUnavailable] for all else. Refused or unreadable
// credentials match [fs.ErrPermission], too. An error that matches fs.ErrPermission only is about one file, which the server
// forbids after it gave others: some servers answer so for absent files. The method RetryAfter of an error is how long the
// server wants no requests, if it answered 408, 425, 429 or 503. No error has credentials in its text.
type Client struct {
	location Location
	log      *slog.Logger
	fetch    *fetch.Client
	keys     *keyring
	asking   chan struct{} // semaphore of maxAsking
	slow     chan struct{} // semaphore of maxSlow
	// answered is set after the first file. Before it, a 403 means that the credentials are wrong, not that one file is forbidden.
	answered atomic.Bool

	sleep func(ctx context.Context, d time.Duration) error // tests replace it

	mu   sync.Mutex // guards seen
	seen []string   // origins to which redirects led
}

// New returns a Client. It reads the files of o, and looks for credentials of S3 until ctx ends. It sends nothing to the location.
// Errors match fs.ErrInvalid, or are those of reading a file. The caller calls Close.
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

// Close ends the idle connections. Bodies stay open until they are closed.
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

// readFile returns a file of at most limit bytes.
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

// remember adds the origin of an answer to the known ones.
func (c *Client) remember(u *url.URL) {
	if c.knows(u) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen = append(c.seen, fetch.Origin(u))
	c.seen = c.seen[max(0, len(c.seen)-maxOrigins):]
}
