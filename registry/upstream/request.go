package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/nixreg/nixreg/internal/oci"
)

const (
	maxTries        = 3 // of a request that got no answer, or one of a bad moment
	maxPatientTries = 5 // of one that came too early
	maxPatience     = 60 * time.Second
)

// query is one request to the registry.
type query struct {
	method  string
	repo    string
	path    string // below /v2/
	values  url.Values
	header  http.Header
	subject string        // in messages: "library/nginx:latest"
	wait    time.Duration // for the header of the answer
}

// query makes one for a thing of a repository: kind is "manifests", "blobs" and so on, ref a tag or digest.
func (r *Registry) query(method, repo, kind, ref string, accept ...types.MediaType) (query, error) {
	q := query{method: method, repo: repo, path: repo + "/" + kind + "/" + ref, header: http.Header{}, wait: headerTimeout}
	if !oci.IsRepository(repo) {
		return q, r.about(fmt.Sprintf("repository %.100q", repo), fs.ErrInvalid)
	}
	for _, a := range accept {
		q.header.Add("Accept", string(a))
	}
	switch {
	case oci.IsDigest(ref):
		q.subject = repo + "@" + ref
	case oci.IsTag(ref):
		q.subject = repo + ":" + ref
	default:
		return q, r.about(fmt.Sprintf("%s: tag or digest %.100q", repo, ref), fs.ErrInvalid)
	}
	return q, nil
}

// do sends a query until it gets the answer that is asked for: 200, or 206 to one for a range. The caller closes its
// body. Other answers are an *Error.
func (r *Registry) do(ctx context.Context, q query) (*http.Response, error) {
	for try := 1; ; try++ {
		resp, err := r.authorized(ctx, q)
		if err == nil {
			return resp, nil
		}
		d, again := r.again(err, try)
		if ctx.Err() != nil || !again {
			return nil, r.failed(ctx, q.subject, err)
		}
		if err := r.pause(ctx, q.subject, d, err); err != nil {
			return nil, err
		}
	}
}

// pause waits before another try.
func (r *Registry) pause(ctx context.Context, subject string, d time.Duration, cause error) error {
	r.log.DebugContext(ctx, "request is tried again", "of", subject, "in", d, "err", cause)
	if why := patience(cause); why != "" && r.said.first(r.now().Add(d)) {
		r.log.InfoContext(ctx, fmt.Sprintf("waiting %d s: %s", (d+time.Second-1)/time.Second, why))
	}
	if err := r.wait(ctx, d); err != nil {
		return r.about(subject, err)
	}
	return nil
}

// patience says why a server wants to be waited for; "" if it does not.
func patience(cause error) string {
	var e *Error
	if !errors.As(cause, &e) || e.Status != http.StatusTooManyRequests && e.RetryAfter == 0 {
		return ""
	}
	who := "the registry"
	if e.TokenServer {
		who = "the token server"
	}
	if e.Status == http.StatusTooManyRequests {
		return who + " wants fewer requests"
	}
	return fmt.Sprintf("%s answers %d", who, e.Status)
}

// said is until when it has been said that the registry is waited for.
type said struct {
	mu    sync.Mutex
	until time.Time
}

// first reports whether a wait until then is news: of several requests that wait as long, one says so.
func (s *said) first(until time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if until.Sub(s.until) < time.Second {
		return false
	}
	s.until = until
	return true
}

// again reports whether, and in what time, to try again after an error.
func (r *Registry) again(err error, try int) (time.Duration, bool) {
	var e *Error
	if !errors.As(err, &e) {
		return backoff(try), try < maxTries && transient(err)
	}
	wait := backoff(try)
	if e.RetryAfter > 0 {
		wait = min(e.RetryAfter, maxPatience)
	}
	switch {
	case e.Status == http.StatusTooManyRequests:
		return wait, try < maxPatientTries && r.patient
	case passing(e.Status):
		return wait, try < maxTries && (r.patient || e.RetryAfter == 0)
	}
	return 0, false
}

// passing reports whether a status is that of a bad moment. Those above 511 are Cloudflare's, which stands before many a
// registry: it got no answer, or none that makes sense.
//
// Source: RFC 9110, 15.6; Cloudflare's documentation, "Error 520" to "Error 524".
func passing(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable,
		http.StatusGatewayTimeout, 520, 521, 522, 523, 524:
		return true
	}
	return false
}

// backoff is about half a second, doubled with each try.
func backoff(try int) time.Duration {
	d := time.Second / 4 << min(try, 6)
	return d + rand.N(d)
}

// authorized sends a query with what it takes to be answered. A 401 is a chance to learn what that is.
func (r *Registry) authorized(ctx context.Context, q query) (*http.Response, error) {
	if err := r.settle(ctx); err != nil {
		return nil, err
	}
	to := access{repo: q.repo}
	authorization, err := r.auth.header(ctx, to)
	if err != nil {
		return nil, err
	}
	for tried := false; ; tried = true {
		resp, err := r.send(ctx, q, authorization)
		if err != nil || resp.StatusCode != http.StatusUnauthorized || originOf(resp.Request.URL) != r.address.origin() {
			return r.accept(q, resp, err)
		}
		header := resp.Header
		refused := r.answered(q.subject, resp)
		if !r.auth.refused(ctx, header, &to, authorization, tried) {
			return nil, refused
		}
		next, err := r.auth.header(ctx, to)
		if err != nil {
			return nil, err
		}
		if next == authorization { // there is nothing better to offer
			return nil, refused
		}
		authorization = next
	}
}

func (r *Registry) send(ctx context.Context, q query, authorization string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, q.method, r.url(q.path, q.values), nil)
	if err != nil {
		return nil, err
	}
	req.Header = q.header.Clone()
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	return r.wire.send(req, q.wait)
}

// accept makes an error of an answer with another status than the right one.
func (r *Registry) accept(q query, resp *http.Response, err error) (*http.Response, error) {
	if err != nil {
		return nil, err
	}
	ranged := q.header.Get("Range") != ""
	if resp.StatusCode == http.StatusOK || ranged && resp.StatusCode == http.StatusPartialContent {
		return resp, nil
	}
	return nil, r.answered(q.subject, resp)
}

// document is an answer that has been read whole.
type document struct {
	data   []byte
	header http.Header
}

// read sends a query for a document of at most limit bytes.
func (r *Registry) read(ctx context.Context, q query, limit int64) (*document, error) {
	for try := 1; ; try++ {
		resp, err := r.do(ctx, q)
		if err != nil {
			return nil, err
		}
		data, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
		resp.Body.Close()
		if e := encodingOf(resp.Header); e != "" {
			return nil, r.nonsense(q.subject, resp.StatusCode, fmt.Errorf("it comes with Content-Encoding %s, though it was asked not to", e))
		}
		if int64(len(data)) > limit {
			return nil, r.nonsense(q.subject, resp.StatusCode, fmt.Errorf("document of more than %d bytes", limit))
		}
		if err == nil {
			return &document{data, resp.Header}, nil
		}
		if ctx.Err() != nil || try == maxTries {
			return nil, r.failed(ctx, q.subject, err)
		}
		if err := r.pause(ctx, q.subject, backoff(try), err); err != nil {
			return nil, err
		}
	}
}

// encodingOf is what an answer is compressed with on its way; "" if it is not.
func encodingOf(h http.Header) string {
	switch e := strings.ToLower(h.Get("Content-Encoding")); e {
	case "gzip", "x-gzip", "br", "zstd", "deflate", "compress":
		return e
	}
	return ""
}

// mediaType is the one of an answer, without parameters.
func mediaType(h http.Header) types.MediaType {
	t, _, _ := strings.Cut(h.Get("Content-Type"), ";")
	return types.MediaType(strings.ToLower(strings.TrimSpace(t)))
}
