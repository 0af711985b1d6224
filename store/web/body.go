package web

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// progress is how many bytes make up for the tries it took to get them.
const progress = 4 << 10

// body is a file as it comes.
type body struct {
	client    *Client
	query     query
	ctx       context.Context // of who opened it
	cancel    context.CancelFunc
	encoding  string // "" is none
	final     *url.URL
	version   version
	unchanged bool          // the answer is a 304
	limit     int64         // of bytes, 0 is none
	off       int64         // bytes read
	mark      int64         // off at the last cut
	waited    time.Duration // for the bytes since then
	patience  *patience
	err       error // after which nothing more is read

	mu     sync.Mutex // guards what follows
	body   io.ReadCloser
	closed bool
}

// open begins to get a file.
func (c *Client) open(ctx context.Context, q query, p *patience) (*body, error) {
	b := &body{client: c, query: q, patience: p}
	b.ctx, b.cancel = context.WithCancel(ctx)
	resp, err := c.do(b.ctx, q, p)
	if err != nil {
		err = b.fail(err)
		b.cancel()
		return nil, err
	}
	b.body, b.final, b.version = resp.Body, resp.Request.URL, versionOf(resp)
	b.unchanged = resp.StatusCode == http.StatusNotModified
	b.encoding = encodingOf(resp.Header, q.name)
	return b, nil
}

func (b *body) fail(err error) error {
	return b.client.failed(b.ctx, b.query.name, err, b.patience.tries)
}

// Read implements [io.Reader].
func (b *body) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, b.err
	}
	for b.err == nil {
		if b.version.size >= 0 {
			p = p[:min(int64(len(p)), b.version.size-b.off)]
		}
		if len(p) == 0 {
			b.err = io.EOF
			break
		}
		begun := time.Now()
		n, err := b.body.Read(p)
		b.waited += time.Since(begun)
		b.off += int64(n)
		switch {
		case b.limit > 0 && b.off > b.limit:
			b.err = b.fail(tooLarge(b.limit))
		case n > 0, err == nil: // an error comes again
			return n, nil
		case err == io.EOF && (b.version.size < 0 || b.off == b.version.size):
			b.err = io.EOF
		case err == io.EOF:
			b.err = b.resume(io.ErrUnexpectedEOF)
		default:
			b.err = b.resume(err)
		}
	}
	return 0, b.err
}

// Close ends a running Read, and the request.
func (b *body) Close() error {
	b.cancel()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	return b.body.Close()
}

// resume gets the rest of the file after a cut.
func (b *body) resume(cause error) error {
	if b.progressed() {
		b.patience.tries = 0
	}
	b.mark, b.waited = b.off, 0
	for {
		cause = fmt.Errorf("cut after %d bytes: %w", b.off, cause)
		if err := b.client.pause(b.ctx, b.query.name, cause, b.patience); err != nil {
			return b.fail(err)
		}
		resp, err := b.client.do(b.ctx, b.rest(), b.patience)
		if err != nil {
			return b.fail(err)
		}
		if err := b.replace(resp.Body); err != nil {
			return err
		}
		if err := b.check(resp); err != nil {
			return b.fail(err)
		}
		if resp.StatusCode == http.StatusPartialContent {
			return nil
		}
		if _, cause = io.CopyN(io.Discard, resp.Body, b.off); cause == nil { // it knows no ranges
			return nil
		}
	}
}

// rest is the query for what is missing.
func (b *body) rest() query {
	q := b.query
	q.header = http.Header{} // a condition has been answered
	if b.off == 0 {
		return q
	}
	q.header.Set("Range", fmt.Sprintf("bytes=%d-", b.off))
	if v := b.version.validator(); v != "" {
		q.header.Set("If-Range", v)
	}
	return q
}

// replace puts next in the place of the body that was cut.
func (b *body) replace(next io.ReadCloser) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.body.Close()
	b.body = next
	if b.closed {
		next.Close()
		return b.fail(fs.ErrClosed)
	}
	return nil
}

// progressed reports whether enough has come since the last cut, and in time: cuts must not make slow what would be too
// slow without them.
func (b *body) progressed() bool {
	came := b.off - b.mark
	return came >= progress && b.waited.Seconds()*slowBytes <= float64(came)*slowTimeout.Seconds()
}

// check reports whether an answer is the rest of the same file, or the whole of it.
func (b *body) check(resp *http.Response) error {
	now := versionOf(resp)
	if encodingOf(resp.Header, b.query.name) != b.encoding || resp.StatusCode == http.StatusRequestedRangeNotSatisfiable {
		return errChanged
	}
	if resp.StatusCode == http.StatusPartialContent {
		c, ok := parseContentRange(resp.Header.Get("Content-Range"))
		if !ok || c.first != b.off {
			return fmt.Errorf("asked for the bytes from %d on, the answer is for %.100q", b.off, printable(resp.Header.Get("Content-Range")))
		}
	}
	differs, known := b.version.differs(now)
	switch {
	case differs:
		return errChanged
	case !known && b.off > 0:
		return errors.New("cut, and the server does not say whether it still has the same file")
	}
	b.version.size = max(b.version.size, now.size)
	return nil
}

var errChanged = refusal("the file has changed while it was read")
