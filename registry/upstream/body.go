package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strings"
	"sync"
	"time"
)

const (
	maxCuts  = 5        // in a row, without progress between them
	progress = 64 << 10 // bytes, if they do not come too slowly
)

// Body is a blob as it comes. A connection that is cut, has no byte for a minute, or less than 512 KiB in two minutes of
// waiting, is replaced by one for the rest. A patient registry may be out of reach for about a minute, too. It is for one reader at a time; Close may be called at any time.
type Body struct {
	registry  *Registry
	query     query
	ctx       context.Context
	cancel    context.CancelFunc
	validator string // for If-Range; "" is none
	size      int64
	off       int64         // bytes read
	mark      int64         // off at the last cut
	waited    time.Duration // for the bytes since then
	cuts      int
	err       error // after which nothing more is read

	mu     sync.Mutex // guards what follows
	body   io.ReadCloser
	closed bool
}

// Size is the number of bytes of the blob as the registry says, -1 if it does not.
func (b *Body) Size() int64 { return b.size }

// Read implements [io.Reader]. No more than Size bytes are read, and no less before io.EOF. Errors are [*Error] for what
// the registry is to blame for, or that of the context.
func (b *Body) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, b.err
	}
	for b.err == nil {
		if b.size >= 0 {
			p = p[:min(int64(len(p)), b.size-b.off)]
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
		case n > 0, err == nil: // an error comes again
			return n, nil
		case err == io.EOF && (b.size < 0 || b.off == b.size):
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
func (b *Body) Close() error {
	b.cancel()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	return b.body.Close()
}

// resume gets the rest of the blob after a cut.
func (b *Body) resume(cause error) error {
	for {
		if err := b.worthwhile(cause); err != nil {
			return err
		}
		if err := b.registry.pause(b.ctx, b.query.subject, backoff(b.cuts), cause); err != nil {
			return err
		}
		resp, err := b.registry.do(b.ctx, b.rest())
		if err != nil && b.registry.patient && mayPass(err) {
			cause = err
			continue
		}
		if err != nil {
			return err
		}
		if err := b.replace(resp.Body); err != nil {
			return err
		}
		if err := b.checkRest(resp); err != nil {
			return b.registry.nonsense(b.query.subject, resp.StatusCode, err)
		}
		if resp.StatusCode == http.StatusPartialContent {
			return nil
		}
		if _, cause = io.CopyN(io.Discard, resp.Body, b.off); cause == nil { // it knows no ranges
			return nil
		}
	}
}

// worthwhile is an error if the cut is one too many.
func (b *Body) worthwhile(cause error) error {
	// Cuts must not make slow what would be too slow without them.
	if came := b.off - b.mark; came >= progress && b.waited.Seconds()*slowBytes <= float64(came)*slowTimeout.Seconds() {
		b.cuts = 0
	}
	b.mark, b.waited = b.off, 0
	b.cuts++
	if b.ctx.Err() != nil || b.cuts > maxCuts {
		err := fmt.Errorf("%w after %d of %s bytes, %d times: %w", errCut, b.off, sizeText(b.size), b.cuts, cause)
		return b.registry.failed(b.ctx, b.query.subject, err)
	}
	return nil
}

var errCut = errors.New("cut")

func sizeText(n int64) string {
	if n < 0 {
		return "unknown"
	}
	return fmt.Sprint(n)
}

// rest is the query for what is missing.
func (b *Body) rest() query {
	q := b.query
	q.header, q.wait = q.header.Clone(), headerTimeout // it has the blob
	if b.off > 0 {
		q.header.Set("Range", fmt.Sprintf("bytes=%d-", b.off))
		if b.validator != "" {
			q.header.Set("If-Range", b.validator)
		}
	}
	return q
}

// replace puts body in the place of the one that was cut.
func (b *Body) replace(body io.ReadCloser) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.body.Close()
	b.body = body
	if b.closed {
		body.Close()
		return b.registry.about(b.query.subject, fs.ErrClosed)
	}
	return nil
}

// checkRest reports whether an answer is the rest of the same blob, or the whole of it.
func (b *Body) checkRest(resp *http.Response) error {
	total := resp.ContentLength
	if resp.StatusCode == http.StatusPartialContent {
		c, ok := parseContentRange(resp.Header.Get("Content-Range"))
		if !ok {
			return errors.New("part of the blob, but it is not said which")
		}
		if c.first != b.off {
			return fmt.Errorf("asked for bytes from %d on, the answer has those from %d on", b.off, c.first)
		}
		total = c.total
	}
	if b.size < 0 {
		b.size = total
	}
	if total >= 0 && total != b.size || b.size >= 0 && b.size < b.off {
		return fmt.Errorf("blob had %d bytes, now %d", b.size, total)
	}
	return nil
}

// validator is what tells that a blob is still the same; "" if nothing does. A weak one must not be used for that.
//
// Source: RFC 9110, 13.1.5.
func validator(h http.Header) string {
	if tag := h.Get("ETag"); strings.HasPrefix(tag, `"`) {
		return tag
	}
	return ""
}
