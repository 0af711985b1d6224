package registry

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"
)

const (
	maxMessage = 1024 // bytes of an error shown to a client
	retryAfter = "5"  // seconds, the default
)

// publicError has a text for clients. The text of Error is for the log only: it may quote files and addresses.
type publicError interface {
	error
	Public() string
}

// publicText is the text of err for clients: that of the first [publicError] in its chain, "" without one.
func publicText(err error) string {
	var p publicError
	if !errors.As(err, &p) {
		return ""
	}
	return p.Public()
}

// StatusError is an error of a [Source] with the status of another server's answer, which the client gets.
type StatusError struct {
	Status     int           // 403, 429, or one from 500 on
	RetryAfter time.Duration // 0 if unknown
	Text       string        // for the client; "" is Err's public text, see [Source]
	Err        error
}

func (e *StatusError) Error() string { return e.Err.Error() }

// Public is the text for the client.
func (e *StatusError) Public() string { return cmp.Or(e.Text, publicText(e.Err)) }

func (e *StatusError) Unwrap() error { return e.Err }

// code is the row of errorTable for e, which may have another status.
func (e *StatusError) code() errorCode {
	switch e.Status {
	case http.StatusForbidden:
		return errRefused
	case http.StatusTooManyRequests:
		return errTooMany
	}
	return errUpstream
}

// errorCode is a row of errorTable.
type errorCode uint8

const (
	errUnknown errorCode = iota
	errNameInvalid
	errNameUnknown
	errTagInvalid
	errManifestUnknown
	errBlobUnknown
	errDigestInvalid
	errPage
	errRange
	errDenied
	errMethod
	errEndpoint
	errUnavailable
	errRefused
	errTooMany
	errUpstream
)

// errorTable has all errors that a client can see.
//
// Source: OCI distribution specification 1.1, "Error codes"; those it lacks (TAG_INVALID, PAGINATION_NUMBER_INVALID,
// RANGE_INVALID, UNAVAILABLE, UNKNOWN) are the names distribution uses. A [StatusError] has the last rows.
var errorTable = [...]struct {
	code    string
	status  int
	message string
	explain bool // the error's public text takes the place of message
}{
	errUnknown:         {"UNKNOWN", http.StatusInternalServerError, "internal error", false},
	errNameInvalid:     {"NAME_INVALID", http.StatusBadRequest, "invalid repository name", true},
	errNameUnknown:     {"NAME_UNKNOWN", http.StatusNotFound, "repository name not known to registry", true},
	errTagInvalid:      {"TAG_INVALID", http.StatusBadRequest, "invalid tag", true},
	errManifestUnknown: {"MANIFEST_UNKNOWN", http.StatusNotFound, "manifest unknown to registry", true},
	errBlobUnknown:     {"BLOB_UNKNOWN", http.StatusNotFound, "blob unknown to registry", true},
	errDigestInvalid:   {"DIGEST_INVALID", http.StatusBadRequest, "invalid digest", true},
	errPage:            {"PAGINATION_NUMBER_INVALID", http.StatusBadRequest, "invalid number of results", true},
	errRange:           {"RANGE_INVALID", http.StatusRequestedRangeNotSatisfiable, "range not satisfiable", true},
	errDenied:          {"DENIED", http.StatusForbidden, "access to the resource is denied", false},
	errMethod:          {"UNSUPPORTED", http.StatusMethodNotAllowed, "the operation is unsupported", true},
	errEndpoint:        {"UNSUPPORTED", http.StatusNotFound, "no such endpoint", true},
	errUnavailable:     {"UNAVAILABLE", http.StatusServiceUnavailable, "service unavailable, try again", false},
	errRefused:         {"DENIED", http.StatusForbidden, "access to the resource is denied", true},
	errTooMany:         {"TOOMANYREQUESTS", http.StatusTooManyRequests, "too many requests", true},
	errUpstream:        {"UNAVAILABLE", http.StatusBadGateway, "the upstream registry does not answer", true},
}

// failure is an error with its code. Its text has only parts of the request.
type failure struct {
	code errorCode
	err  error
}

func (f *failure) Error() string  { return f.err.Error() }
func (f *failure) Public() string { return f.err.Error() }

// problem makes a *failure with the text of [fmt.Errorf].
func problem(c errorCode, format string, args ...any) error {
	return &failure{c, fmt.Errorf(format, args...)}
}

// classify returns the code for the kind of err, and its log level. missing is the code for a thing that does not exist, cannot exist, or
// cannot be made into an image.
func classify(ctx context.Context, err error, missing errorCode) (errorCode, slog.Level) {
	var f *failure
	var s *StatusError
	switch {
	case errors.As(err, &f):
		return f.code, slog.LevelInfo
	case errors.Is(err, context.Canceled) && ctx.Err() != nil: // the client has left, or the server stops
		return errUnavailable, slog.LevelDebug
	case errors.As(err, &s):
		return s.code(), slog.LevelWarn
	case errors.Is(err, context.DeadlineExceeded):
		return errUnavailable, slog.LevelWarn
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE): // too many clients at once
		return errUnavailable, slog.LevelError
	case errors.Is(err, fs.ErrPermission):
		return errDenied, slog.LevelWarn
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrInvalid), errors.Is(err, errors.ErrUnsupported):
		return missing, slog.LevelInfo
	}
	return errUnknown, slog.LevelError
}

// fail logs err and answers with it. The answer must not have begun.
func (h *Handler) fail(w *response, r *http.Request, rt route, err error) {
	c, level := classify(r.Context(), err, rt.kind.missing())
	status := errorTable[c].status
	if s := (*StatusError)(nil); errors.As(err, &s) && c == s.code() {
		status = s.Status
		if s.RetryAfter > 0 {
			w.Header().Set("Retry-After", seconds(s.RetryAfter))
		}
	}
	h.log.Log(r.Context(), level, "request failed", "method", r.Method, "path", loggedPath(r),
		"status", status, "code", errorTable[c].code, "err", err)
	var d *detail
	if c != errUnknown && rt.repository != "" {
		d = &detail{Repository: rt.repository, Tag: rt.tag}
		if rt.digest.Algorithm != "" {
			d.Digest = rt.digest.String()
		}
	}
	writeErrorAs(w, status, c, publicText(err), d)
}

// seconds is d for Retry-After, rounded up.
func seconds(d time.Duration) string {
	return strconv.FormatInt(int64((d+time.Second-1)/time.Second), 10)
}

// detail names the subject of an error.
type detail struct {
	Repository string `json:"repository"`
	Tag        string `json:"tag,omitempty"`
	Digest     string `json:"digest,omitempty"`
}

type errorEntry struct {
	Code    string  `json:"code"`
	Message string  `json:"message"`
	Detail  *detail `json:"detail,omitempty"`
}

// writeError answers with a row of errorTable.
func writeError(w *response, c errorCode, text string, d *detail) {
	writeErrorAs(w, errorTable[c].status, c, text, d)
}

// writeErrorAs writes every answer with an error. text replaces the message of the table if the table allows it.
func writeErrorAs(w *response, status int, c errorCode, text string, d *detail) {
	row := errorTable[c]
	entry := errorEntry{row.code, row.message, d}
	if row.explain && text != "" {
		entry.Message = truncate(strings.ReplaceAll(text, "\n", "; "), maxMessage)
	}
	if transient := c == errUnavailable || c == errTooMany || c == errUpstream; transient && w.Header().Get("Retry-After") == "" {
		w.Header().Set("Retry-After", retryAfter)
	}
	w.document(status, "application/json", encode(map[string][]errorEntry{"errors": {entry}}))
}

// encode writes v as JSON, with <, > and & as they are. v must be encodable.
func encode(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err) // endpoint recovers it
	}
	return b.Bytes()
}

// truncate shortens s to at most n bytes, with a mark, and cuts no character in two.
func truncate(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}
