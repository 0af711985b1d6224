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
	// hopKey is the parameter that counts the hops of a request.
	hopKey = "nixreg_hop"
	// maxHops is one less than Go's HTTP client follows, so that a proxy may add a redirect.
	maxHops = 8
	// comeBack is the Retry-After of the answer after the last hop.
	comeBack = 10 * time.Second
)

// errWaited is the cause of a context that ended after Wait. It matches [context.DeadlineExceeded]: the client has not left, and will ask
// again.
var errWaited = fmt.Errorf("answer is not ready in time: %w", context.DeadlineExceeded)

// wait bounds the time before the first byte of one answer.
type wait struct {
	ctx   context.Context // ends with the request, or by errWaited
	end   context.CancelCauseFunc
	timer *time.Timer
}

// newWait starts the timer. The caller closes the wait.
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

// over ends the bound when the answer begins. It returns false if the time has passed.
func (w *wait) over() bool {
	inTime := w.timer.Stop()
	if !inTime {
		w.end(errWaited) // the timer's own call may come later
	}
	return inTime
}

// close frees the timer and the context.
func (w *wait) close() {
	w.timer.Stop()
	w.end(nil)
}

// passed reports whether the time has passed while the client was still there.
func (w *wait) passed(r *http.Request) bool {
	return context.Cause(w.ctx) == errWaited && r.Context().Err() == nil
}

// again answers a request that has waited for Wait: by a redirect to its own URL or, after maxHops, by 503. The work goes on. err is the
// error of the [Source], which may have the progress.
//
// The Location is only a query (RFC 3986, section 5.2.2), so that scheme, host and path stay as the client sees them through a proxy.
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
	hdr.Del("Vary") // no cache keeps this answer
	hdr.Set("Cache-Control", "no-store")
	hdr.Set("Location", "?"+nextHop(r.URL.RawQuery, hop+1))
	w.document(http.StatusTemporaryRedirect, "text/plain; charset=utf-8", []byte(truncate(text, maxMessage)+"\n"))
	return nil
}

// hopOf parses the counter. An absent or malformed one is 0.
func hopOf(s string) int {
	if len(s) != 1 || s[0] < '0' || s[0] > '0'+maxHops {
		return 0
	}
	return int(s[0] - '0')
}

// nextHop sets the counter of a query and changes no other parameter.
func nextHop(query string, hop int) string {
	var all []string
	for p := range strings.SplitSeq(query, "&") {
		key, _, _ := strings.Cut(p, "=")
		if name, err := url.QueryUnescape(key); p != "" && (err != nil || name != hopKey) {
			all = append(all, strings.ReplaceAll(p, "#", "%23")) // it would begin a fragment
		}
	}
	return strings.Join(append(all, hopKey+"="+strconv.Itoa(hop)), "&")
}

// String is the route for messages.
func (rt route) String() string {
	switch {
	case rt.tag != "":
		return rt.repository + ":" + rt.tag
	case rt.digest.Algorithm != "":
		return rt.repository + "@" + rt.digest.String()
	}
	return rt.repository
}
