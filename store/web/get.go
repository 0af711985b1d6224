package web

import (
	"bytes"
	"cmp"
	"context"
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

// modifiedTag begins an ETag of ours that holds a Last-Modified, for servers without ETags.
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

// tries are those of one file. between calls sleep, between two tries.
func (c *Client) tries(name string, between func(sleep func() error) error) *fetch.Tries {
	return &fetch.Tries{
		Max: maxTries, Busy: maxTries, First: 250 * time.Millisecond, Longest: 8 * time.Second, Rest: 60 * time.Second,
		Pause: func(ctx context.Context, d time.Duration, cause error) error {
			c.log.DebugContext(ctx, "file is asked for again", "store", c.location.shown, "name", fetch.Printable(name), "in", d, "err", cause)
			return between(func() error { return c.sleep(ctx, d) })
		},
	}
}

// open begins to get a file. The errors are those that callers of Client get.
func (c *Client) open(ctx context.Context, q query, between func(sleep func() error) error) (*fetch.Body, error) {
	tries := c.tries(q.name, between)
	return c.fetch.Open(ctx, fetch.File{
		Ask: func(ctx context.Context, rest http.Header) (resp *http.Response, err error) {
			header := q.header
			if rest != nil { // a condition has been answered
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

// leadsAstray reports whether S3 sends a signed request to another host, where the bucket is: the signature is not good
// there, and without one it would be denied.
func (c *Client) leadsAstray(resp *http.Response) bool {
	to, err := resp.Location()
	signed := strings.HasPrefix(resp.Request.Header.Get("Authorization"), "AWS4-")
	return signed && err == nil && !c.fetch.Owns(to) && resp.Header.Get(regionHeader) != ""
}

// Get returns a small file. What the server has compressed is unpacked: gzip, br, zstd, xz and bzip2. A file of more than
// limit bytes gives an error matching [store.ErrTooLarge]. At most 32 files are asked for at once, beside those that wait for
// another try, and up to 96 that the server has not sent within 2 seconds.
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

// Open returns the bytes of a file as they are stored. ctx governs them until they are closed, which the caller does. A
// connection that is cut, or has no byte for 30 s, or less than 64 KiB in two minutes of waiting, is replaced by one for
// the rest; a file that has changed in between is an error. They are for one reader at a time; Close may be called at any time.
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
	if e := encodingOf(b.Answer.Header, q.name); e != "" {
		defer b.Close()
		return nil, c.failed(ctx, q.name, fmt.Errorf("the server sends it with Content-Encoding %s, though it was asked not to", e), 0)
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
		a.ETag = etag // which need not be said again
	}
	return a, nil
}

// queryIf is the query for a file that may be named by an address, unless it has this ETag.
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
