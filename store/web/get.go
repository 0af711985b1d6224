package web

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/nixreg/nixreg/internal/fetch"
	"github.com/nixreg/nixreg/store"
)

// modifiedTag is the prefix of an ETag that we make of a Last-Modified, for servers without ETags.
const modifiedTag = "modified:"

// query is what is asked for a file.
type query struct {
	name   string // in messages
	target *url.URL
	header http.Header
	wait   time.Duration // for the header of the answer
	limit  int64         // of bytes
}

func (c *Client) query(name string) (query, error) {
	u, err := c.location.target(name)
	return query{name: c.location.shownName(name), target: u, header: http.Header{}, wait: documentTimeout, limit: math.MaxInt64}, err
}

// tries are the tries of one file. Between two tries it calls between, which calls sleep.
func (c *Client) tries(name string, between func(sleep func() error) error) *fetch.Tries {
	return &fetch.Tries{
		Max: maxTries, Busy: maxTries, First: 250 * time.Millisecond, Longest: 8 * time.Second, Rest: 60 * time.Second,
		Pause: func(ctx context.Context, d time.Duration, cause error) error {
			c.log.DebugContext(ctx, "file is asked for again", "store", c.location.shown, "name", fetch.Printable(name), "in", d, "err", cause)
			return between(func() error { return c.sleep(ctx, d) })
		},
	}
}

// open begins to read a file. Its errors, and those of the Body, are the ones that callers get.
func (c *Client) open(ctx context.Context, q query, between func(sleep func() error) error) (*fetch.Body, error) {
	tries := c.tries(q.name, between)
	return c.fetch.Open(ctx, fetch.File{
		Ask: func(ctx context.Context, rest http.Header) (resp *http.Response, err error) {
			header := q.header
			if rest != nil { // without If-None-Match: the first answer has told that the file has changed
				header = rest
			}
			err = tries.Do(ctx, func() error {
				req := (&http.Request{Method: http.MethodGet, URL: q.target, Header: header.Clone()}).WithContext(ctx)
				resp, err = c.fetch.Send(fetch.Request{Request: req, Wait: q.wait, Sign: c.keys.authorize, Stay: c.leadsAstray})
				return err
			})
			if err != nil {
				return nil, err
			}
			c.remember(resp.Request.URL)
			c.answered.Store(true)
			return resp, nil
		},
		Tries: tries, Progress: progress, Limit: q.limit,
		Fail: func(ctx context.Context, err error) error { return c.failed(ctx, q.name, err, tries.Made) },
	})
}

func justSleep(sleep func() error) error { return sleep() }

// leadsAstray reports whether S3 redirects a signed request to the host of the bucket. The signature is not valid there, and
// without a signature the request would be denied.
func (c *Client) leadsAstray(resp *http.Response) bool {
	to, err := resp.Location()
	signed := strings.HasPrefix(resp.Request.Header.Get("Authorization"), "AWS4-")
	return signed && err == nil && !c.fetch.Owns(to) && resp.Header.Get(regionHeader) != ""
}

// Get returns a small file. It unpacks the Content-Encodings gzip, br, zstd, xz and bzip2. The error for a file of more than
// limit bytes matches [store.ErrTooLarge]. A Client reads at most 32 small files at once. A file that waits for another try does
// not count, and neither do up to 96 files that the server has not sent within 2 seconds.
func (c *Client) Get(ctx context.Context, name string, limit int64) ([]byte, error) {
	q, err := c.query(name)
	if err != nil {
		return nil, err
	}
	q.limit = limit
	var s slot
	if err := s.acquire(ctx, c); err != nil {
		return nil, c.failed(ctx, q.name, err, 0)
	}
	defer s.release()
	b, err := c.open(ctx, q, func(sleep func() error) error {
		s.release()
		return cmp.Or(sleep(), s.acquire(ctx, c))
	})
	if err != nil {
		return nil, err
	}
	defer b.Close()
	stored, err := io.ReadAll(b)
	encoding := encodingOf(b.Answer.Header, q.name)
	if err != nil || encoding == "" {
		return stored, err
	}
	unpacked, err := decode(encoding, bytes.NewReader(stored), limit+1)
	if err != nil {
		return nil, c.failed(ctx, q.name, fmt.Errorf("Content-Encoding %s: %w", encoding, err), 0)
	}
	if int64(len(unpacked)) > limit {
		return nil, c.failed(ctx, q.name, fmt.Errorf("more than the %d bytes that are allowed: %w", limit, store.ErrTooLarge), 0)
	}
	return unpacked, nil
}

// slot is the place of one small file in a semaphore: in that of all files, then in that of slow files. So files that hang until
// their timeout hold up no others, as long as they are not too many.
type slot struct {
	mu    sync.Mutex
	held  chan struct{} // the semaphore; nil for none
	timer *time.Timer   // moves the slot
}

func (s *slot) acquire(ctx context.Context, c *Client) error {
	select {
	case c.asking <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held = c.asking
	s.timer = time.AfterFunc(slowAfter, func() { s.move(c) })
	return nil
}

// move moves the slot to the slow files, if there is a place.
func (s *slot) move(c *Client) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held != c.asking {
		return
	}
	select {
	case c.slow <- struct{}{}:
		s.held = c.slow
		<-c.asking
	default:
		s.timer.Reset(slowAfter)
	}
}

// release gives the slot back, if there is one.
func (s *slot) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held != nil {
		s.timer.Stop()
		<-s.held
		s.held = nil
	}
}

// Open returns the bytes of a file as they are stored. The caller closes them; the end of ctx ends them. A connection is too slow
// if it brings no byte for 30 s, or less than 64 KiB in two minutes of waiting. After a cut or a connection that is too slow,
// the reader asks for the rest; it is an error if the file has changed. It is for one goroutine; Close may be called at any
// time.
func (c *Client) Open(ctx context.Context, name string) (io.ReadCloser, error) {
	q, err := c.query(name)
	if err != nil {
		return nil, err
	}
	q.wait = fileTimeout
	b, err := c.open(ctx, q, justSleep)
	if err != nil {
		return nil, err
	}
	e := encodingOf(b.Answer.Header, q.name)
	if e == "" {
		return b, nil
	}
	fail := func(err error) error {
		if errors.As(err, new(*failure)) {
			return err // of the body
		}
		return c.failed(ctx, q.name, fmt.Errorf("Content-Encoding %s, though the server was asked for none: %w", e, err), 0)
	}
	d, err := newDecoder(e, b)
	if err != nil {
		b.Close()
		return nil, fail(err)
	}
	return &decodedBody{decoder: d, body: b, fail: fail}, nil
}

// Answer is a file, or tells that the file still has the ETag of the question.
type Answer struct {
	Body        io.ReadCloser // as from Open; nil if NotModified
	NotModified bool
	ETag        string // opaque; "" if the server has nothing that changes with the file
	URL         string // after a redirect: where the file is, without a query
}

// GetIf opens a file of at most limit bytes, unless it still has this ETag; with "" it opens the file in any case. The bytes are
// those that are stored, whatever the Content-Encoding. A name may also be a URL at the location's origin, or at that of an
// Answer's URL. The error for more than limit bytes matches [store.ErrTooLarge].
func (c *Client) GetIf(ctx context.Context, name, etag string, limit int64) (Answer, error) {
	q, err := c.queryIf(name, etag)
	if err != nil {
		return Answer{}, err
	}
	q.limit = limit
	b, err := c.open(ctx, q, justSleep)
	if err != nil {
		return Answer{}, err
	}
	a := Answer{ETag: b.Answer.Header.Get("ETag"), NotModified: b.Answer.StatusCode == http.StatusNotModified}
	if modified := b.Answer.Header.Get("Last-Modified"); a.ETag == "" && modified != "" {
		a.ETag = modifiedTag + modified
	}
	if final := b.Answer.Request.URL; final.Host != q.target.Host || final.Path != q.target.Path {
		a.URL = (&url.URL{Scheme: final.Scheme, Host: final.Host, Path: final.Path, RawPath: final.RawPath}).String()
	}
	if !a.NotModified {
		a.Body = b
		return a, nil
	}
	b.Close()
	if b.Answer.Header.Get("ETag") == "" {
		a.ETag = etag // a 304 need not repeat it
	}
	return a, nil
}

// queryIf makes the query of GetIf.
func (c *Client) queryIf(name, etag string) (query, error) {
	q := query{name: c.location.shownName(name), header: http.Header{}, wait: documentTimeout}
	var err error
	if strings.HasPrefix(name, "http://") || strings.HasPrefix(name, "https://") {
		q.target, err = url.Parse(name)
		if err != nil || q.target.User != nil || !c.knows(q.target) {
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
