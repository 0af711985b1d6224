package upstream

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"
	"time"

	"github.com/nixreg/nixreg/internal/fetch"
)

var (
	// ErrDigest is matched by an error for bytes that do not have the digest they should.
	ErrDigest = errors.New("wrong digest")
	// ErrNotHTTPS is matched by an [Error] for a server that speaks something else where it should speak HTTPS.
	ErrNotHTTPS = fetch.ErrNotHTTPS
	// ErrCertificate is matched by an [Error] for a server whose certificate is not trusted.
	ErrCertificate = fetch.ErrCertificate
)

// Error is the error for a wrong answer of the registry, or of a server it leads to, or for the lack of an answer. It matches
// [fs.ErrNotExist] for 404, [fs.ErrPermission] for 401 and 403, and all that Err matches. The end of a context is no Error,
// and neither is a keychain that fails, see [ErrCredentials].
type Error struct {
	Registry string // its name
	Subject  string // the thing that was asked for: "library/nginx:latest"; "" is left out of texts
	// TokenServer: the error is about the token server, not the registry.
	TokenServer bool
	Status      int // of the answer; 0: there is no answer; 200 or 206: the answer makes no sense
	// RetryAfter is how long the server wants no requests, at most an hour; 0: it does not tell.
	RetryAfter time.Duration
	Err        error // without the registry and the subject
}

// Error returns the text for logs, which may name servers.
func (e *Error) Error() string { return e.text(e.Err.Error()) }

// Public returns the text for clients. It names no server, except in a message of the server itself. The text of an Err that
// another package has set is shown as it is.
func (e *Error) Public() string {
	if r := (*reason)(nil); errors.As(e.Err, &r) {
		return e.text(r.public)
	}
	return e.Error()
}

func (e *Error) text(what string) string {
	if e.Subject != "" {
		what = e.Subject + ": " + what
	}
	return e.Registry + ": " + what
}

func (e *Error) Unwrap() error { return e.Err }

// Is makes a status match its kind.
func (e *Error) Is(target error) bool {
	switch e.Status {
	case http.StatusNotFound:
		return target == fs.ErrNotExist
	case http.StatusUnauthorized, http.StatusForbidden:
		return target == fs.ErrPermission
	}
	return false
}

// nonsense makes an Error of an answer with the right status and wrong content.
func (s *server) nonsense(subject string, status int, err error) *Error {
	public := "the answer makes no sense"
	if errors.Is(err, ErrDigest) {
		public = "the answer has another digest than it should"
	}
	return &Error{Registry: s.name, Subject: subject, Status: status, Err: &reason{err, err.Error(), public}}
}

// failed makes the error that callers get of the error of a request.
func (s *server) failed(ctx context.Context, subject string, err error) error {
	var (
		own   *Error
		e     *fetch.Error
		token *tokenError
	)
	switch {
	case ctx.Err() != nil:
		return s.about(subject, ctx.Err())
	case errors.As(err, &own):
		return own
	case !errors.As(err, &e): // an error of this machine: credentials, for example
		return s.about(subject, err)
	case e.Kind == fetch.ErrChanged:
		return s.nonsense(subject, e.Status, e)
	}
	why := &reason{e, e.Error(), publicly(e)}
	f := &Error{Registry: s.name, Subject: subject, Err: why}
	switch {
	case e.Status != 0 && e.Kind == nil:
		f.Status, f.RetryAfter = e.Status, min(e.RetryAfter, maxRetryAfter)
		if why.text = why.public; e.Elsewhere != "" {
			why.text += " (from " + e.Elsewhere + ")"
		}
	case e.Status == http.StatusProxyAuthRequired:
		why.text += ": put a user and a password in HTTPS_PROXY"
	}
	if errors.As(err, &token) {
		f.Subject, f.TokenServer = token.subject, true
		if f.Status == 0 {
			why.text, why.public = "token server "+token.server+": "+why.text, "the token server "+why.public
		}
	}
	return f
}

const maxRetryAfter = time.Hour

// reason is an error with other texts: text for logs, public for clients.
type reason struct {
	error
	text, public string
}

func (r *reason) Error() string { return r.text }
func (r *reason) Unwrap() error { return r.error }

// tokenError is the error for a token server that did not give a token.
type tokenError struct {
	subject, server string
	error
}

func (e *tokenError) Unwrap() error { return e.error }

// publicly is the text for clients. Its subject is the server.
func publicly(e *fetch.Error) string {
	switch {
	case e.Kind != nil:
		return e.Kind.Error()
	case e.Status == 0:
		return "does not answer"
	}
	text := e.Error()
	if m := firstMessage(e.Body); m != "" {
		text += ": " + m
	}
	return text
}

// firstMessage returns the reason in the error document of a registry or a token server, or "".
func firstMessage(body []byte) string {
	var a struct {
		Errors []struct {
			Code    string `json:"code"`
			Message string `json:"message"`
		} `json:"errors"`
		Details string `json:"details"` // from Docker Hub's token server
		Message string `json:"message"`
	}
	if json.Unmarshal(body, &a) != nil {
		return ""
	}
	if len(a.Errors) == 0 {
		return fetch.Printable(cmp.Or(a.Details, a.Message))
	}
	code, message := fetch.Printable(a.Errors[0].Code), fetch.Printable(a.Errors[0].Message)
	if code == "" || message == "" {
		return code + message
	}
	return code + ": " + message
}
