package upstream

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	maxErrorBody = 64 << 10 // bytes read of an answer that is an error
	maxText      = 256      // bytes shown of a text from outside
)

// ErrDigest is matched by an error for bytes that do not have the digest they should.
var ErrDigest = errors.New("wrong digest")

// Error is what the registry, or a server it leads to, answers in place of what was asked for; or that there is no
// answer. It matches [fs.ErrNotExist] for 404, [fs.ErrPermission] for 401 and 403, and what Err matches. The end of a
// context is no Error.
type Error struct {
	Registry string // its name
	Status   int    // of the answer; 0 is none, 200 and 206 are for an answer that makes no sense
	// RetryAfter is for how long the server wants to be left alone, at most an hour; 0 where it does not say.
	RetryAfter time.Duration
	Err        error
}

func (e *Error) Error() string { return e.Registry + ": " + e.Err.Error() }

func (e *Error) Unwrap() error { return e.Err }

// Is implements the kinds of the statuses.
func (e *Error) Is(target error) bool {
	switch e.Status {
	case http.StatusNotFound:
		return target == fs.ErrNotExist
	case http.StatusUnauthorized, http.StatusForbidden:
		return target == fs.ErrPermission
	}
	return false
}

// answered makes an Error of an answer, and closes it.
func (r *Registry) answered(subject string, resp *http.Response) *Error {
	defer resp.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody)) // what there is of it
	text := fmt.Sprintf("%s: %d %s", subject, resp.StatusCode, http.StatusText(resp.StatusCode))
	if m := firstMessage(body); m != "" {
		text += ": " + m
	}
	if to := originOf(resp.Request.URL); to != r.address.origin() {
		text += " (from " + printable(to.host) + ")"
	}
	return &Error{
		Registry:   r.name,
		Status:     resp.StatusCode,
		RetryAfter: parseRetryAfter(resp.Header.Get("Retry-After"), r.now()),
		Err:        errors.New(text),
	}
}

// nonsense is an Error for an answer that has the right status and is wrong all the same.
func (r *Registry) nonsense(subject string, status int, err error) *Error {
	return &Error{Registry: r.name, Status: status, Err: fmt.Errorf("%s: %w", subject, err)}
}

// failed makes the error for a request that came to no answer, or returns the Error of one.
func (r *Registry) failed(ctx context.Context, subject string, err error) error {
	if ctx.Err() != nil {
		return r.about(subject, ctx.Err())
	}
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	var local *localError
	if errors.As(err, &local) {
		return r.about(subject, err)
	}
	return &Error{Registry: r.name, Err: fmt.Errorf("%s: %w", subject, noAnswer{err})}
}

// noAnswer hides what an error of the network matches: no system call's "permission denied" is the registry's.
type noAnswer struct{ err error }

func (n noAnswer) Error() string {
	var notTLS tls.RecordHeaderError
	if errors.As(n.err, &notTLS) {
		return "the server does not speak HTTPS"
	}
	return printable(n.err.Error())
}

func (n noAnswer) Timeout() bool { return isTimeout(n.err) }

// A localError has its cause on this side: the registry was not asked.
type localError struct{ text string }

func (e *localError) Error() string { return e.text }

func isTimeout(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}

// transient reports whether a request that got no answer is worth another try.
func transient(err error) bool {
	var (
		e           *Error
		local       *localError
		dns         *net.DNSError
		certificate *tls.CertificateVerificationError
		notTLS      tls.RecordHeaderError
	)
	switch {
	case errors.As(err, &e), errors.As(err, &local), isRefusal(err), isTimeout(err):
		return false
	case errors.As(err, &certificate), errors.As(err, &notTLS), errors.As(err, &dns) && dns.IsNotFound:
		return false
	}
	return true
}

// firstMessage returns what a registry or a token server says is wrong; "" if that is not to be found.
func firstMessage(body []byte) string {
	var a struct {
		Errors []struct {
			Code    string `json:"code"`
			Message string `json:"message"`
		} `json:"errors"`
		Details string `json:"details"` // as Docker Hub's token server has it
		Message string `json:"message"`
	}
	if json.Unmarshal(body, &a) != nil {
		return ""
	}
	if len(a.Errors) == 0 {
		return printable(cmp.Or(a.Details, a.Message))
	}
	code, message := printable(a.Errors[0].Code), printable(a.Errors[0].Message)
	if code == "" || message == "" {
		return code + message
	}
	return code + ": " + message
}

// printable is a text from outside as it may be shown: in one line, and short.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) && r != utf8.RuneError {
			return r
		}
		return ' '
	}, s[:min(len(s), 4*maxText)])
	s = strings.Join(strings.Fields(s), " ")
	if len(s) <= maxText {
		return s
	}
	n := maxText
	for !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}
