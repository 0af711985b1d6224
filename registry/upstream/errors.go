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

var (
	// ErrDigest is matched by an error for bytes that do not have the digest they should.
	ErrDigest = errors.New("wrong digest")
	// ErrNotHTTPS is matched by an [Error] for a server that speaks something else where it should speak HTTPS.
	ErrNotHTTPS = errors.New("no HTTPS")
	// ErrCertificate is matched by an [Error] for a server whose certificate is not trusted.
	ErrCertificate = errors.New("untrusted certificate")
)

// Error is what the registry, or a server it leads to, answers in place of what was asked for; or that there is no
// answer. It matches [fs.ErrNotExist] for 404, [fs.ErrPermission] for 401 and 403, and what Err matches. The end of a
// context is no Error, nor are credentials that cannot be had, see [ErrCredentials].
type Error struct {
	Registry string // its name
	Subject  string // what was asked for, such as "library/nginx:latest"; "" is left out of texts
	// TokenServer says that it is the token server that answers so, or does not answer.
	TokenServer bool
	Status      int // of the answer; 0 is none, 200 and 206 are for an answer that makes no sense
	// RetryAfter is for how long the server wants to be left alone, at most an hour; 0 where it does not say.
	RetryAfter time.Duration
	Err        error // without the registry and the subject

	elsewhere bool // the answer is not the registry's own
	passing   bool // it may be for a bad moment
}

// Error is the text for logs. It may have addresses of servers.
func (e *Error) Error() string { return e.text(e.Err.Error()) }

// Public is the text for those who need not know which servers there are: it has no addresses but those in what the
// server says is wrong. An Err that is not of this package is shown as it is.
func (e *Error) Public() string {
	var d detailed
	if !errors.As(e.Err, &d) {
		return e.Error()
	}
	if e.TokenServer && e.Status == 0 {
		return e.text("the token server " + d.public)
	}
	return e.text(d.public)
}

func (e *Error) text(what string) string {
	if e.Subject != "" {
		what = e.Subject + ": " + what
	}
	return e.Registry + ": " + what
}

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
	public := strings.TrimSpace(fmt.Sprintf("%d %s", resp.StatusCode, http.StatusText(resp.StatusCode)))
	if m := firstMessage(body); m != "" {
		public += ": " + m
	}
	text, to := public, originOf(resp.Request.URL)
	elsewhere := to != r.address.origin()
	if elsewhere {
		text += " (from " + printable(to.host) + ")"
	}
	return &Error{
		Registry:   r.name,
		Subject:    subject,
		Status:     resp.StatusCode,
		RetryAfter: parseRetryAfter(resp.Header.Get("Retry-After"), r.now()),
		Err:        detailed{errors.New(text), public},
		elsewhere:  elsewhere,
		passing:    passing(resp.StatusCode),
	}
}

// nonsense is an Error for an answer that has the right status and is wrong all the same.
func (r *Registry) nonsense(subject string, status int, err error) *Error {
	public := "the answer makes no sense"
	if errors.Is(err, ErrDigest) {
		public = "the answer has another digest than it should"
	}
	return &Error{Registry: r.name, Subject: subject, Status: status, Err: detailed{err, public}}
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
	if errors.Is(err, ErrCredentials) {
		return r.about(subject, err)
	}
	e = &Error{Registry: r.name, Subject: subject, Err: detailed{noAnswer{err}, publicly(err)}, passing: transient(err) || isTimeout(err)}
	var t *tokenError
	if errors.As(err, &t) {
		e.Subject, e.TokenServer = t.subject, true
	}
	return e
}

// detailed is an error that has more in its text than everybody is to know.
type detailed struct {
	error
	public string
}

func (d detailed) Unwrap() error { return d.error }

// publicly says what came of a request that got no answer, of the server that should have given it.
func publicly(err error) string {
	var p proxyError
	switch {
	case errors.As(err, &p):
		return "cannot be reached through the proxy"
	case isNotTLS(err):
		return "speaks no HTTPS"
	case isUntrusted(err):
		return "has a certificate that is not trusted"
	case isRefusal(err):
		return "leads to where it must not"
	case errors.Is(err, errCut):
		return "breaks its answers off, or is too slow"
	case isTimeout(err):
		return "does not answer in time"
	}
	return "does not answer"
}

// tokenError is for a token server that was asked, or was to be asked, and gave no answer.
type tokenError struct {
	subject, server string
	err             error
}

func (e *tokenError) Error() string { return "token server " + e.server + ": " + e.err.Error() }

func (e *tokenError) Unwrap() error { return e.err }

// noAnswer hides what an error of the network matches: no system call's "permission denied" is the registry's.
type noAnswer struct{ err error }

func (n noAnswer) Error() string {
	if isNotTLS(n.err) {
		return "the server does not speak HTTPS"
	}
	return printable(n.err.Error())
}

func (n noAnswer) Timeout() bool { return isTimeout(n.err) }

// Is implements the kinds that are this package's own.
func (n noAnswer) Is(target error) bool {
	return target == ErrNotHTTPS && isNotTLS(n.err) || target == ErrCertificate && isUntrusted(n.err)
}

// proxyError is the status of a proxy that does not connect.
type proxyError int

func (e proxyError) Error() string {
	text := strings.TrimSpace(fmt.Sprintf("the proxy answers %d %s", int(e), http.StatusText(int(e))))
	if e == http.StatusProxyAuthRequired {
		text += ": put a user and a password in HTTPS_PROXY"
	}
	return text
}

func isNotTLS(err error) bool {
	var e tls.RecordHeaderError
	return errors.As(err, &e)
}

func isUntrusted(err error) bool {
	var e *tls.CertificateVerificationError
	return errors.As(err, &e)
}

func isTimeout(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}

// transient reports whether a request that got no answer is worth another try.
func transient(err error) bool {
	var (
		e   *Error
		p   proxyError
		dns *net.DNSError
	)
	switch {
	case errors.As(err, &p):
		return p >= http.StatusInternalServerError
	case errors.As(err, &e), errors.Is(err, ErrCredentials), isRefusal(err), isTimeout(err):
		return false
	case isUntrusted(err), isNotTLS(err), errors.As(err, &dns) && dns.IsNotFound:
		return false
	}
	return true
}

// mayPass reports whether an error of a request may be for a bad moment of the network or the registry, if a long one.
func mayPass(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.passing
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
