package web

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/nixreg/nixreg/store"
)

const (
	maxTries   = 5
	maxBackoff = 8 * time.Second
	maxWait    = 60 * time.Second // that a server may ask for
)

// modifiedTag begins an ETag of ours that holds a Last-Modified, for servers without ETags.
const modifiedTag = "modified:"

// query is what is asked for a file.
type query struct {
	name   string // in messages
	target *url.URL
	header http.Header
	wait   time.Duration // for the header of the answer
}

func (c *Client) query(name string) (query, error) {
	u, err := c.location.target(name)
	return query{name: c.location.shownName(name), target: u, header: http.Header{}, wait: documentTimeout}, err
}

// patience counts the tries for one file that were in vain since the last progress.
type patience struct {
	tries int
	begun bool // the file is there, and some of it may have come
	place bool // it has one in Client.asking, which it gives up while it waits for another try
}

// enter takes a place in Client.asking.
func (c *Client) enter(ctx context.Context, p *patience) error {
	select {
	case c.asking <- struct{}{}:
		p.place = true
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// leave gives the place back, if there is one.
func (c *Client) leave(p *patience) {
	if p.place {
		p.place = false
		<-c.asking
	}
}

// do sends a query until there is an answer that is no error: 200, 206, 304 or 416, if it is one to this query. Other
// answers are a *denied. The caller closes the body. Errors are not yet those that callers of Client get.
func (c *Client) do(ctx context.Context, q query, p *patience) (*http.Response, error) {
	for {
		resp, err := c.wire.send(c.request(ctx, q), q.wait, c.keys.authorize)
		if err == nil && !expected(q, resp.StatusCode) {
			d := denial(resp, c.location.bucket, c.now())
			if !c.wire.own(resp.Request.URL) {
				d.at = printable(resp.Request.URL.Host)
			}
			err = d
		}
		if err == nil {
			if resp.Request.URL.String() != q.target.String() {
				c.wire.remember(resp.Request.URL)
			}
			c.answered.Store(true)
			p.begun = true
			return resp, nil
		}
		if err := c.pause(ctx, q.name, err, p); err != nil {
			return nil, err
		}
	}
}

func expected(q query, status int) bool {
	switch status {
	case http.StatusOK:
		return true
	case http.StatusPartialContent, http.StatusRequestedRangeNotSatisfiable:
		return q.header.Get("Range") != ""
	case http.StatusNotModified:
		return q.header.Get("If-None-Match") != "" || q.header.Get("If-Modified-Since") != ""
	}
	return false
}

// pause waits before another try; it returns cause, or that of ctx, if there is to be none.
func (c *Client) pause(ctx context.Context, name string, cause error, p *patience) error {
	p.tries++
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if p.tries >= maxTries || !transient(cause) || isTimeout(cause) && !p.begun {
		return cause // another store can be asked while a host is silent
	}
	wait := backoff(p.tries)
	var d *denied
	if errors.As(cause, &d) && d.after > 0 {
		if d.after > maxWait {
			return fmt.Errorf("%w: the server wants to be left alone for %v", cause, d.after.Round(time.Second))
		}
		wait = d.after
	}
	c.log.DebugContext(ctx, "file is asked for again", "store", c.location.shown, "name", printable(name), "in", wait, "err", printable(cause.Error()))
	if !p.place {
		return c.sleep(ctx, wait)
	}
	c.leave(p)
	return cmp.Or(c.sleep(ctx, wait), c.enter(ctx, p))
}

// Get returns a small file. What the server has compressed is unpacked: gzip, br, zstd, xz and bzip2. A file of more than
// limit bytes gives an error matching [store.ErrTooLarge]. At most 32 files are asked for at once, beside those that wait for
// another try.
func (c *Client) Get(ctx context.Context, name string, limit int64) ([]byte, error) {
	q, err := c.query(name)
	if err != nil {
		return nil, err
	}
	p := new(patience)
	if err := c.enter(ctx, p); err != nil {
		return nil, c.failed(ctx, q.name, err, 0)
	}
	defer c.leave(p)
	b, err := c.open(ctx, q, p)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	if b.version.size > limit {
		return nil, b.fail(tooLarge(limit))
	}
	stored, err := io.ReadAll(io.LimitReader(b, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(stored)) <= limit && b.encoding != "" {
		if stored, err = decode(b.encoding, bytes.NewReader(stored), limit+1); err != nil {
			return nil, b.fail(fmt.Errorf("Content-Encoding %s: %w", b.encoding, err))
		}
	}
	if int64(len(stored)) > limit {
		return nil, b.fail(tooLarge(limit))
	}
	return stored, nil
}

func tooLarge(limit int64) error {
	return fmt.Errorf("more than the %d bytes that are allowed: %w", limit, store.ErrTooLarge)
}

// Open returns the bytes of a file as they are stored. ctx governs them until they are closed, which the caller does. A
// connection that is cut, or has no byte for 30 s, or less than 64 KiB in two minutes of waiting, is replaced by one for
// the rest; a file that has changed in between is an error. They are for one reader at a time; Close may be called at any time.
func (c *Client) Open(ctx context.Context, name string) (io.ReadCloser, error) {
	q, err := c.query(name)
	if err != nil {
		return nil, err
	}
	q.wait = fileTimeout
	b, err := c.open(ctx, q, new(patience))
	if err != nil {
		return nil, err
	}
	if b.encoding != "" {
		defer b.Close()
		return nil, b.fail(fmt.Errorf("the server sends it with Content-Encoding %s, though it was asked not to", b.encoding))
	}
	return b, nil
}

// Answer is a file, or the news that it is still the one with the ETag that was asked about.
type Answer struct {
	Body        io.ReadCloser // as Open's; nil if NotModified
	NotModified bool
	ETag        string // opaque; "" if nothing tells one state of the file from the next
	URL         string // where the file is, without a query, if that is not where its name says
}

// GetIf opens a file of at most limit bytes unless it is the one with this ETag, "" is any. Its bytes are as they are
// stored, whatever Content-Encoding the server gives them. A name may also be an address of http or https, at the
// location's host or the host of an Answer's URL. Reading more than limit bytes gives an error matching
// [store.ErrTooLarge].
func (c *Client) GetIf(ctx context.Context, name, etag string, limit int64) (Answer, error) {
	q, err := c.queryIf(name, etag)
	if err != nil {
		return Answer{}, err
	}
	b, err := c.open(ctx, q, new(patience))
	if err != nil {
		return Answer{}, err
	}
	a := Answer{ETag: b.version.etag}
	if a.ETag == "" && b.version.modified != "" {
		a.ETag = modifiedTag + b.version.modified
	}
	if b.final.Host != q.target.Host || b.final.Path != q.target.Path {
		a.URL = (&url.URL{Scheme: b.final.Scheme, Host: b.final.Host, Path: b.final.Path, RawPath: b.final.RawPath}).String()
	}
	if b.unchanged {
		b.Close()
		a.NotModified = true
		if b.version.etag == "" {
			a.ETag = etag // which need not be said again
		}
		return a, nil
	}
	if b.version.size > limit {
		defer b.Close()
		return Answer{}, b.fail(tooLarge(limit))
	}
	b.limit = limit
	a.Body = b
	return a, nil
}

// queryIf is the query for a file that may be named by an address, unless it has this ETag.
func (c *Client) queryIf(name, etag string) (query, error) {
	q := query{name: c.location.shownName(name), header: http.Header{}, wait: documentTimeout}
	var err error
	if strings.HasPrefix(name, "http://") || strings.HasPrefix(name, "https://") {
		q.target, err = url.Parse(name)
		if err != nil || q.target.User != nil || !c.wire.knows(q.target) {
			return q, fmt.Errorf("%s: %.100q is no address it has led to: %w", c.location, redacted(name), fs.ErrInvalid)
		}
		q.name = redacted(name)
		q.target.Fragment = ""
	} else if q.target, err = c.location.target(name); err != nil {
		return q, err
	}
	switch modified, ok := strings.CutPrefix(etag, modifiedTag); {
	case hasControl(etag):
	case ok:
		q.header.Set("If-Modified-Since", modified)
	case etag != "":
		q.header.Set("If-None-Match", etag)
	}
	return q, nil
}
