package upstream

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/nixreg/nixreg/internal/fetch"
	"github.com/nixreg/nixreg/internal/oci"
)

const (
	maxTries = 3 // of a request without an answer, or with an answer that may pass
	maxBusy  = 5 // after 429, if the registry is patient
	maxRest  = 60 * time.Second
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

// query makes a query for a part of a repository. kind is "manifests", "blobs" and so on; ref is a tag or a digest.
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

// do sends a query, with as many tries as it takes. The status of the answer is 200, or 206 for a range. The caller closes the
// body. Other answers are an *Error.
func (r *Registry) do(ctx context.Context, q query) (resp *http.Response, err error) {
	err = r.tries(q.subject).Do(ctx, func() error {
		resp, err = r.authorized(ctx, q)
		return err
	})
	if err != nil {
		return nil, r.failed(ctx, q.subject, err)
	}
	return resp, nil
}

// tries are the tries of one query.
func (r *Registry) tries(subject string) *fetch.Tries {
	t := &fetch.Tries{Max: maxTries, Busy: 1, First: time.Second / 2, Longest: 16 * time.Second}
	if r.patient {
		t.Busy, t.Rest, t.Capped = maxBusy, maxRest, true
	}
	t.Pause = func(ctx context.Context, d time.Duration, cause error) error {
		r.log.DebugContext(ctx, "request is tried again", "of", subject, "in", d, "err", cause)
		if why := restReason(cause); why != "" && r.announced.first(r.now().Add(d)) {
			r.log.InfoContext(ctx, fmt.Sprintf("waiting %d s: %s", (d+time.Second-1)/time.Second, why))
		}
		return r.wait(ctx, d)
	}
	return t
}

// restReason is why a server gets no requests for a while, or "".
func restReason(cause error) string {
	var e *fetch.Error
	if !errors.As(cause, &e) || e.Status != http.StatusTooManyRequests && e.RetryAfter == 0 {
		return ""
	}
	server := "the registry"
	if t := (*tokenError)(nil); errors.As(cause, &t) {
		server = "the token server"
	}
	if e.Status == http.StatusTooManyRequests {
		return server + " wants fewer requests"
	}
	return fmt.Sprintf("%s answers %d", server, e.Status)
}

// authorized sends a query once, with the credentials that the registry wants. It learns from a 401 which these are.
func (r *Registry) authorized(ctx context.Context, q query) (*http.Response, error) {
	if err := r.settle(ctx); err != nil {
		return nil, err
	}
	to := access{repo: q.repo}
	authorization, err := r.auth.header(ctx, to)
	if err != nil {
		return nil, err
	}
	sign := func(req *http.Request) error {
		if authorization != "" {
			req.Header.Set("Authorization", authorization)
		}
		return nil
	}
	for tried := false; ; tried = true {
		req := (&http.Request{Method: q.method, URL: r.url(q.path, q.values), Header: q.header.Clone()}).WithContext(ctx)
		resp, err := r.client.Send(fetch.Request{Request: req, Wait: q.wait, Sign: sign})
		var e *fetch.Error
		if !errors.As(err, &e) || e.Status != http.StatusUnauthorized || e.Kind != nil || e.Elsewhere != "" {
			return resp, err
		}
		if !r.auth.refused(ctx, e.Header, &to, authorization, tried) {
			return nil, err
		}
		next, again := r.auth.header(ctx, to)
		if again != nil {
			return nil, again
		}
		if next == authorization { // there are no other credentials
			return nil, err
		}
		authorization = next
	}
}

// document is an answer with its whole body.
type document struct {
	data   []byte
	header http.Header
}

// read reads a document of at most limit bytes. After a cut it asks for the whole document again.
func (r *Registry) read(ctx context.Context, q query, limit int64) (*document, error) {
	var doc *document
	err := r.tries(q.subject).Do(ctx, func() error {
		resp, err := r.authorized(ctx, q)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if e := encodingOf(resp.Header); e != "" {
			return r.nonsense(q.subject, resp.StatusCode, fmt.Errorf("it comes with Content-Encoding %s, though it was asked not to", e))
		}
		data, err := fetch.ReadAll(resp.Body, limit)
		if errors.Is(err, fetch.ErrTooLarge) {
			return r.nonsense(q.subject, resp.StatusCode, fmt.Errorf("document of more than %d bytes", limit))
		}
		doc = &document{data, resp.Header}
		return err
	})
	if err != nil {
		return nil, r.failed(ctx, q.subject, err)
	}
	return doc, nil
}

// encodingOf is the compression of an answer, or "".
func encodingOf(h http.Header) string {
	switch e := strings.ToLower(h.Get("Content-Encoding")); e {
	case "gzip", "x-gzip", "br", "zstd", "deflate", "compress":
		return e
	}
	return ""
}

// mediaType is the media type of an answer, without parameters.
func mediaType(h http.Header) types.MediaType {
	t, _, _ := strings.Cut(h.Get("Content-Type"), ";")
	return types.MediaType(strings.ToLower(strings.TrimSpace(t)))
}
