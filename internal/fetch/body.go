package fetch

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strings"
	"sync"
	"time"
)

// File says how to ask for a file, and what to do after a cut. Ask, Tries, Limit and Fail must be set.
type File struct {
	// Ask asks for the file. rest is nil at first. After a cut it is the header of the next request: Range and If-Range, or
	// empty to begin anew.
	Ask func(ctx context.Context, rest http.Header) (*http.Response, error)
	// Tries counts the cuts. After Progress bytes that did not come too slowly, the count begins anew.
	Tries    *Tries
	Progress int64
	Limit    int64 // in bytes; the error for a larger file matches [ErrTooLarge]
	// Digested: the reader verifies a digest. Another ETag or date is then no other file.
	Digested bool
	// Patient: a request for the rest that fails for a passing reason counts as a cut.
	Patient bool
	// Fail makes the error that the reader gets, once for each file.
	Fail func(ctx context.Context, err error) error
}

// Body is a file while it is downloaded. After a cut, or a connection that is too slow, it asks for the rest. It is for one reader
// at a time; Close may be called at any time.
type Body struct {
	Answer  *http.Response // the first one, whose Body is not to be read
	file    File
	slow    Slow
	ctx     context.Context
	cancel  context.CancelFunc
	version version
	off     int64         // bytes read
	mark    int64         // off at the last cut
	waited  time.Duration // for the bytes since then
	err     error         // after which nothing more is read

	mu     sync.Mutex // guards what follows
	body   io.ReadCloser
	closed bool
}

// Open begins to read a file. The caller closes the Body; the end of ctx ends it.
func (c *Client) Open(ctx context.Context, f File) (*Body, error) {
	ctx, cancel := context.WithCancel(ctx)
	resp, err := f.Ask(ctx, nil)
	if err == nil && resp.StatusCode == http.StatusOK && resp.ContentLength > f.Limit {
		resp.Body.Close()
		err = tooLarge(f.Limit)
	}
	if err != nil {
		defer cancel()
		return nil, f.Fail(ctx, err)
	}
	f.Tries.begun = true
	return &Body{Answer: resp, file: f, slow: c.options.Slow, ctx: ctx, cancel: cancel, version: versionOf(resp), body: resp.Body}, nil
}

// ReadAll reads a body of at most limit bytes; a larger one is an error matching [ErrTooLarge], one that ends early matches
// [ErrCut].
func ReadAll(r io.Reader, limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	switch {
	case int64(len(b)) > limit:
		return nil, tooLarge(limit)
	case err != nil:
		return nil, &Error{Kind: ErrCut, text: Printable(err.Error())}
	}
	return b, nil
}

func tooLarge(limit int64) *Error {
	return &Error{Kind: ErrTooLarge, text: fmt.Sprintf("more than the %d bytes that are allowed", limit)}
}

// Size is the size of the file in bytes as the server tells it, or -1.
func (b *Body) Size() int64 { return b.version.size }

// Read implements [io.Reader]. If Size is known, exactly Size bytes come before io.EOF.
func (b *Body) Read(p []byte) (int, error) {
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
		case b.off > b.file.Limit:
			b.err = b.file.Fail(b.ctx, tooLarge(b.file.Limit))
		case n > 0, err == nil: // an error comes again
			return n, nil
		case err == io.EOF && (b.version.size < 0 || b.off == b.version.size):
			b.err = io.EOF
		case err == io.EOF:
			err = io.ErrUnexpectedEOF
			fallthrough
		default:
			if err := b.resume(err); err != nil {
				b.err = b.file.Fail(b.ctx, err)
			}
		}
	}
	return 0, b.err
}

// Close ends the request, and a Read that is running.
func (b *Body) Close() error {
	b.cancel()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	return b.body.Close()
}

// resume gets the rest of the file after a cut.
func (b *Body) resume(cause error) error {
	cause = b.cut(cause)
	for {
		if b.progressed() {
			b.file.Tries.Made = 0
		}
		b.mark, b.waited = b.off, 0
		if err := b.file.Tries.wait(b.ctx, cause); err != nil {
			return err
		}
		if b.off > 0 && !b.file.Digested && b.version == (version{size: -1, encoding: b.version.encoding}) {
			return &Error{Kind: ErrChanged, text: cause.Error() + ", and the server does not say whether it still has the same file"}
		}
		resp, err := b.file.Ask(b.ctx, b.rest())
		if err != nil && b.file.Patient {
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
			return err
		}
		if resp.StatusCode == http.StatusPartialContent {
			return nil
		}
		if _, err = io.CopyN(io.Discard, resp.Body, b.off); err == nil { // the server knows no ranges
			return nil
		}
		cause = b.cut(err)
	}
}

func (b *Body) cut(cause error) error {
	size := "unknown"
	if b.version.size >= 0 {
		size = fmt.Sprint(b.version.size)
	}
	return &Error{Kind: ErrCut, text: fmt.Sprintf("cut after %d of %s bytes: %s", b.off, size, Printable(cause.Error()))}
}

// progressed reports whether enough bytes have come since the last cut, and in time: a server that is too slow must not get
// around the limit by cuts.
func (b *Body) progressed() bool {
	came := b.off - b.mark
	return came >= b.file.Progress && b.waited.Seconds()*float64(b.slow.Bytes) <= float64(came)*b.slow.Limit.Seconds()
}

// rest is the header of a request for what is missing.
func (b *Body) rest() http.Header {
	h := http.Header{}
	if b.off == 0 {
		return h
	}
	h.Set("Range", fmt.Sprintf("bytes=%d-", b.off))
	if v := b.version.validator(); v != "" {
		h.Set("If-Range", v)
	}
	return h
}

// replace puts body in the place of the body that was cut.
func (b *Body) replace(body io.ReadCloser) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.body.Close()
	b.body = body
	if b.closed {
		body.Close()
		return fs.ErrClosed
	}
	return nil
}

// checkRest reports whether an answer is the rest of the same file, or the whole of it.
func (b *Body) checkRest(resp *http.Response) error {
	wrong := func(format string, args ...any) error {
		return &Error{Kind: ErrChanged, Status: resp.StatusCode, text: fmt.Sprintf(format, args...)}
	}
	now := versionOf(resp)
	if resp.StatusCode == http.StatusPartialContent {
		c, ok := parseContentRange(resp.Header.Get("Content-Range"))
		if !ok || c.first != b.off {
			return wrong("asked for the bytes from %d on, the answer is for %.100q", b.off, Printable(resp.Header.Get("Content-Range")))
		}
	}
	differs, known := b.version.differs(now)
	switch sizes := b.version.size >= 0 && now.size >= 0; {
	case sizes && b.version.size != now.size, now.size >= 0 && now.size < b.off:
		return wrong("the file has changed while it was read, and has %d bytes now", now.size)
	case differs && !b.file.Digested, b.version.encoding != now.encoding, resp.StatusCode == http.StatusRequestedRangeNotSatisfiable:
		return wrong("the file has changed while it was read")
	case !known && !sizes && !b.file.Digested && b.off > 0:
		return wrong("cut, and the server does not say whether it still has the same file")
	}
	b.version.size = max(b.version.size, now.size)
	return nil
}

// version has the marks of one version of a file; size is -1 if unknown.
type version struct {
	etag, modified, encoding string
	size                     int64
}

// versionOf returns the version in a 200 or a 206.
func versionOf(resp *http.Response) version {
	h := resp.Header
	v := version{h.Get("ETag"), h.Get("Last-Modified"), strings.ToLower(strings.Join(h.Values("Content-Encoding"), ",")), resp.ContentLength}
	if v.encoding == "identity" {
		v.encoding = ""
	}
	if resp.StatusCode == http.StatusPartialContent {
		v.size = -1
		if c, ok := parseContentRange(h.Get("Content-Range")); ok {
			v.size = c.total
		}
	}
	return v
}

// validator is the value for If-Range; "" if there is none. A weak tag must not be used for that.
//
// Source: RFC 9110, 13.1.5.
func (v version) validator() string {
	if strings.HasPrefix(v.etag, `"`) {
		return v.etag
	}
	return v.modified
}

// differs reports whether w has another tag or date than v; known, whether there are any that both have.
func (v version) differs(w version) (differs, known bool) {
	for _, p := range [...][2]string{{v.etag, w.etag}, {v.modified, w.modified}} {
		if p[0] != "" && p[1] != "" {
			known, differs = true, differs || p[0] != p[1]
		}
	}
	return differs, known
}
