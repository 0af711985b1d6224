package web

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/nixreg/nixreg/store"
)

const (
	maxErrorBody = 16 << 10 // bytes read of an answer that is an error
	maxText      = 256      // bytes shown of a text from outside
)

// denied is an answer other than what was asked for.
type denied struct {
	status  int
	code    string // of S3, such as NoSuchKey
	message string // of S3
	give    string // a parameter that would help, where S3 says so
	after   time.Duration
	proxy   bool   // it is a proxy that answers, in place of connecting
	at      string // the host that answers, where a redirect led to another than the location's
}

const regionHeader = "X-Amz-Bucket-Region"

// denial reads an answer that is an error, and closes it.
func denial(resp *http.Response, b *bucket, now time.Time) *denied {
	defer resp.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody)) // what there is of it
	d := &denied{status: resp.StatusCode, after: parseRetryAfter(resp.Header.Get("Retry-After"), now)}
	var text struct {
		XMLName xml.Name `xml:"Error"`
		Code    string   `xml:"Code"`
		Message string   `xml:"Message"`
		Region  string   `xml:"Region"`
	}
	if xml.Unmarshal(body, &text) == nil {
		d.code, d.message = printable(text.Code), printable(text.Message)
	}
	if isRedirect(d.status) || d.status == http.StatusBadRequest {
		d.give = whereBucketIs(resp, b, cmp.Or(resp.Header.Get(regionHeader), text.Region))
	}
	return d
}

// whereBucketIs is the parameter that leads to a bucket in a region; "" if none is known.
func whereBucketIs(resp *http.Response, b *bucket, region string) string {
	switch {
	case !isBucket(region):
		return ""
	case b == nil || b.region != region:
		return "?region=" + region
	}
	to, err := resp.Request.URL.Parse(resp.Header.Get("Location"))
	if err != nil || to.Host == "" || to.Host == resp.Request.URL.Host {
		return ""
	}
	return "?endpoint=" + printable(to.Host)
}

func (d *denied) Error() string {
	text := strings.TrimSpace(fmt.Sprintf("%d %s", d.status, http.StatusText(d.status)))
	if d.proxy {
		text = "the proxy answers " + text
	}
	if d.at != "" {
		text = "it redirects to " + d.at + ", which answers " + text
	}
	if d.code != "" {
		text += ": " + d.code
	}
	if d.message != "" {
		text += ": " + d.message
	}
	if d.give != "" {
		text += " (the bucket is elsewhere: give " + d.give + ")"
	}
	return text
}

// missing reports whether a file is not there.
func (d *denied) missing() bool {
	return !d.proxy && (d.status == http.StatusNotFound || d.status == http.StatusGone) && d.code != "NoSuchBucket"
}

// forbidden reports whether it is the file that is kept from us, which may not even be there: S3 denies access to a key that
// is absent to who may not list the bucket. The other codes of S3 are about credentials.
//
// Source: Amazon S3 API reference, GetObject, "Permissions"; Nix, HttpBinaryCacheStore::getFile, which takes each 403 so.
func (d *denied) forbidden() bool {
	return !d.proxy && d.status == http.StatusForbidden && (d.code == "" || d.code == "AccessDenied")
}

// unauthorized reports whether it is for want of the right credentials. The host that a redirect leads to gets none of them.
func (d *denied) unauthorized() bool {
	switch d.status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return !d.proxy && d.at == ""
	}
	return d.status == http.StatusProxyAuthRequired
}

// passing reports whether another try may help.
func (d *denied) passing() bool {
	return slices.Contains([]int{
		http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout,
	}, d.status)
}

// wantsRest reports whether a Retry-After is about the load of the server, not about this one file: as long as that the server is
// left alone.
//
// Source: RFC 9110, 10.2.3 and 15.6.4; RFC 6585, 4; RFC 8470, 5.2.
func (d *denied) wantsRest() bool {
	switch d.status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return true
	}
	return false
}

// transient reports whether a request is worth another try after an error.
func transient(err error) bool {
	var (
		d         *denied
		r         refusal
		untrusted *tls.CertificateVerificationError
		notTLS    tls.RecordHeaderError
		dns       *net.DNSError
	)
	switch {
	case errors.As(err, &d):
		return d.passing()
	case errors.As(err, &r), errors.As(err, &untrusted), errors.As(err, &notTLS), errors.Is(err, errCredentials):
		return false
	case errors.As(err, &dns) && dns.IsNotFound:
		return false
	}
	return true
}

func isTimeout(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}

// failed makes the error for a file that did not come; tries is how often it was asked for.
func (c *Client) failed(ctx context.Context, name string, err error, tries int) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %s: %w", c.location, printable(name), ctx.Err())
	}
	text := printable(err.Error())
	if tries > 1 {
		text += fmt.Sprintf(" (%d tries)", tries)
	}
	f := &failure{kinds: []error{store.ErrUnavailable}, public: "cannot be asked now"}
	var d *denied
	if errors.As(err, &d) {
		if d.wantsRest() {
			f.after = d.after
		}
		f.public = strings.TrimSpace(fmt.Sprintf("it answers %d %s", d.status, http.StatusText(d.status)))
	}
	switch {
	case d != nil && d.missing():
		f.kinds = []error{fs.ErrNotExist}
	case d != nil && d.unauthorized():
		advice, file := c.keys.advice(d.status)
		text += ": " + advice
		f.public += ": " + advice
		if f.kinds = append(f.kinds, fs.ErrPermission); d.forbidden() && c.answered.Load() {
			f.kinds = []error{fs.ErrPermission}
		} else if file != "" {
			c.keys.name(file)
		}
	case d != nil && d.forbidden():
		f.kinds = []error{fs.ErrPermission}
	case errors.Is(err, errCredentials):
		f.kinds = append(f.kinds, fs.ErrPermission)
		f.public = "there are no credentials for it"
	case errors.Is(err, store.ErrTooLarge):
		f.kinds = []error{store.ErrTooLarge}
	}
	f.text = fmt.Sprintf("%s: %s: %s", c.location, printable(name), text)
	f.public = fmt.Sprintf("%s: %s", c.location, f.public)
	return f
}

// failure has its kinds, and hides what an error of the network matches: no system call's "permission denied" is the
// server's.
type failure struct {
	text   string
	public string // for everybody: the server's address, its status, and words of ours
	kinds  []error
	after  time.Duration
}

func (f *failure) Error() string   { return f.text }
func (f *failure) Public() string  { return f.public }
func (f *failure) Unwrap() []error { return f.kinds }

// RetryAfter is for how long the server wants to be left alone; 0 if it does not say.
func (f *failure) RetryAfter() time.Duration { return f.after }

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
