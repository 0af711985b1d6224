package fetch

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Kinds of an [Error]. Their texts are for clients. Their subject is the server.
var (
	ErrRefused     = errors.New("leads to where it must not")
	ErrTimeout     = errors.New("does not answer in time")
	ErrCut         = errors.New("breaks its answers off, or is too slow")
	ErrChanged     = errors.New("has changed the file while it was read")
	ErrTooLarge    = errors.New("sends too much")
	ErrNotHTTPS    = errors.New("speaks no HTTPS")
	ErrCertificate = errors.New("has a certificate that is not trusted")
	ErrProxy       = errors.New("cannot be reached through the proxy")
	errNoHost      = errors.New("does not answer")
)

// Error is an answer other than the one that was asked for, or the lack of an answer. It matches its Kind and nothing else:
// "permission denied" of a system call is not said by the server. Its text has no credentials and one line.
type Error struct {
	Kind   error // nil for an answer with a wrong status, and for faults of the network that have no kind
	Status int   // of the answer, or of the proxy that does not connect; 0: there is no answer
	// Elsewhere is the host:port that answers, if a redirect led from the base to another; "" if not.
	Elsewhere  string
	Header     http.Header   // of the answer
	Location   string        // absolute, where a redirect that was not followed leads to; it may have credentials
	Body       []byte        // of the answer, its beginning; it may have credentials
	RetryAfter time.Duration // how long the server wants no requests, at most a year; 0: it does not tell
	text       string
}

func (e *Error) Error() string        { return e.text }
func (e *Error) Is(target error) bool { return e.Kind != nil && target == e.Kind }
func (e *Error) Timeout() bool        { return e.Kind == ErrTimeout }

func refusal(format string, args ...any) *Error {
	return &Error{Kind: ErrRefused, text: fmt.Sprintf(format, args...)}
}

func statusText(status int) string {
	return strings.TrimSpace(fmt.Sprintf("%d %s", status, http.StatusText(status)))
}

// fault makes an Error of an error of the network.
func fault(err error) *Error {
	var (
		own       *Error
		untrusted *tls.CertificateVerificationError
		notTLS    tls.RecordHeaderError
		dns       *net.DNSError
		timeout   net.Error
	)
	e := &Error{text: Printable(err.Error())}
	switch {
	case errors.As(err, &own):
		same := *own
		same.text = e.text
		return &same
	case err == io.EOF:
		e.text = "the server hangs up without an answer"
	case errors.As(err, &untrusted):
		e.Kind = ErrCertificate
	case errors.As(err, &notTLS):
		e.Kind, e.text = ErrNotHTTPS, "the server does not speak HTTPS"
	case errors.As(err, &dns) && dns.IsNotFound:
		e.Kind = errNoHost
	case errors.As(err, &timeout) && timeout.Timeout():
		e.Kind = ErrTimeout
	}
	return e
}

// passes reports whether another try may help.
//
// Source: RFC 9110, 15.6; RFC 8470, 5.2; Cloudflare's documentation, "Error 520" to "Error 524", for a server behind it that
// gave no answer, or none that makes sense.
func (e *Error) passes() bool {
	switch e.Kind {
	case nil, ErrProxy:
	case ErrTimeout, ErrCut:
		return true
	default:
		return false
	}
	switch e.Status {
	case 0, http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout, 520, 521, 522, 523, 524:
		return true
	}
	return false
}

const maxText = 256 // bytes

// Printable makes a text from outside fit for logs: one line of at most 256 bytes.
func Printable(s string) string {
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
