package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	// defaultWait is well below the 30 s after which containerd 2.3 and newer give up on a response without headers.
	defaultWait = 20 * time.Second
	// hopKey counts in a request's query how often its client was asked to come again.
	hopKey = "nixreg_hop"
	// maxHops is one less than what Go's HTTP client follows, so that a proxy in front may have one redirect of its own.
	maxHops = 8
	// comeBack is the Retry-After of the answer after the last hop.
	comeBack = 10 * time.Second
)

// errWaited is the cause of the end of a context whose request has waited long enough. It matches
// [context.DeadlineExceeded]: the client is about to ask again, and has not left.
var errWaited = fmt.Errorf("answer is not ready in time: %w", context.DeadlineExceeded)

// A wait bounds the time before the first byte of one answer.
type wait struct {
	ctx   context.Context // ends with the request, or by errWaited
	end   context.CancelCauseFunc
	timer *time.Timer
}

// newWait begins to wait. The caller ends it.
func (h *Handler) newWait(r *http.Request) *wait {
	w := new(wait)
	w.ctx, w.end = context.WithCancelCause(r.Context())
	limit := h.Wait
	if limit <= 0 {
		limit = defaultWait
	}
	w.timer = time.AfterFunc(limit, func() { w.end(errWaited) })
	return w
}

// over lifts the bound, as the answer begins. It returns false if that comes too late.
func (w *wait) over() bool {
	inTime := w.timer.Stop()
	if !inTime {
		w.end(errWaited) // the timer's own call may still be on its way
	}
	return inTime
}

// close frees what the wait holds.
func (w *wait) close() {
	w.timer.Stop()
	w.end(nil)
}

// passed reports whether the time has passed while the client was still there.
func (w *wait) passed(r *http.Request) bool {
	return context.Cause(w.ctx) == errWaited && r.Context().Err() == nil
}

// again answers a request that has waited long enough. Its client is redirected to the same URL, so that it waits anew
// and never for long; after maxHops the answer is 503. The work goes on. err is what the [Source] returned: it may tell
// how far the work is.
//
// The Location has nothing but a query (RFC 3986, section 5.2.2): scheme, host and path stay those that the client sees,
// also where a proxy in front changes them.
func (h *Handler) again(w *response, r *http.Request, rt route, err error) error {
	text := rt.String() + " is not ready yet"
	if p := interface{ Progress() string }(nil); errors.As(err, &p) && p.Progress() != "" {
		text += ": " + p.Progress()
	}
	hop := hopOf(r.URL.Query().Get(hopKey))
	if hop == maxHops {
		return &StatusError{Status: http.StatusServiceUnavailable, RetryAfter: comeBack, Text: text + "; the work goes on, try again", Err: err}
	}
	hdr := w.Header()
	hdr.Del("Vary") // nobody keeps this answer
	hdr.Set("Cache-Control", "no-store")
	hdr.Set("Location", "?"+nextHop(r.URL.RawQuery, hop+1))
	w.document(http.StatusTemporaryRedirect, "text/plain; charset=utf-8", []byte(truncate(text, maxMessage)+"\n"))
	return nil
}

// hopOf reads the counter. What is absent, or is none of ours, is 0.
func hopOf(s string) int {
	if len(s) != 1 || s[0] < '0' || s[0] > '0'+maxHops {
		return 0
	}
	return int(s[0] - '0')
}

// nextHop sets the counter of a query and leaves all other parameters as they are.
func nextHop(query string, hop int) string {
	var all []string
	for p := range strings.SplitSeq(query, "&") {
		key, _, _ := strings.Cut(p, "=")
		if name, err := url.QueryUnescape(key); p != "" && (err != nil || name != hopKey) {
			all = append(all, strings.ReplaceAll(p, "#", "%23")) // in a Location it would begin a fragment
		}
	}
	return strings.Join(append(all, hopKey+"="+strconv.Itoa(hop)), "&")
}

// String is what the route is about, as people write it.
func (rt route) String() string {
	switch {
	case rt.tag != "":
		return rt.repository + ":" + rt.tag
	case rt.digest.Algorithm != "":
		return rt.repository + "@" + rt.digest.String()
	}
	return rt.repository
}
