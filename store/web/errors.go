package web

import (
	"cmp"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/nixreg/nixreg/internal/fetch"
	"github.com/nixreg/nixreg/store"
)

const regionHeader = "X-Amz-Bucket-Region"

// denied is an answer with another status than was asked for.
type denied struct {
	*fetch.Error
	code, message string // of S3, such as NoSuchKey
	give          string // a parameter that would help, if S3 says so
}

// denial reads an answer that is an error.
func denial(e *fetch.Error, l *Location) *denied {
	d := &denied{Error: e}
	var text struct {
		XMLName xml.Name `xml:"Error"`
		Code    string   `xml:"Code"`
		Message string   `xml:"Message"`
		Region  string   `xml:"Region"`
	}
	if xml.Unmarshal(e.Body, &text) == nil {
		d.code, d.message = fetch.Printable(text.Code), fetch.Printable(text.Message)
	}
	if e.Status/100 != 3 && e.Status != http.StatusBadRequest {
		return d
	}
	// The bucket is in another region, or at another host.
	region, b := cmp.Or(e.Header.Get(regionHeader), text.Region), l.bucket
	switch to, err := url.Parse(e.Location); {
	case !isBucket(region):
	case b == nil || b.region != region:
		d.give = "?region=" + region
	case err == nil && to.Host != "" && to.Host != l.base.Host:
		d.give = "?endpoint=" + fetch.Printable(to.Host)
	}
	return d
}

// explain adds to a text about the answer what the server says of it.
func (d *denied) explain(text string) string {
	if d.Elsewhere != "" {
		text = "it redirects to " + d.Elsewhere + ", which answers " + text
	}
	for _, more := range []string{d.code, d.message} {
		if more != "" {
			text += ": " + more
		}
	}
	if d.give != "" {
		text += " (the bucket is elsewhere: give " + d.give + ")"
	}
	return text
}

// missing reports whether a file is not there.
func (d *denied) missing() bool {
	return d.Kind == nil && (d.Status == http.StatusNotFound || d.Status == http.StatusGone) && d.code != "NoSuchBucket"
}

// forbidden reports whether access to this file is denied. The file may be absent: without the right to list the bucket, S3
// denies access to an absent key. The other codes of S3 are about credentials.
//
// Source: Amazon S3 API reference, GetObject, "Permissions"; Nix, HttpBinaryCacheStore::getFile, which takes each 403 so.
func (d *denied) forbidden() bool {
	return d.Kind == nil && d.Status == http.StatusForbidden && (d.code == "" || d.code == "AccessDenied")
}

// unauthorized reports whether the credentials are wrong or missing. The target of a redirect gets no credentials.
func (d *denied) unauthorized() bool {
	switch d.Status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return d.Kind == nil && d.Elsewhere == ""
	}
	return d.Status == http.StatusProxyAuthRequired
}

// wantsRest reports whether a Retry-After is about the load of the server, not about this file. The server then gets no requests
// for that time.
//
// Source: RFC 9110, 10.2.3 and 15.6.4; RFC 6585, 4; RFC 8470, 5.2.
func (d *denied) wantsRest() bool {
	switch d.Status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return true
	}
	return false
}

// failed makes the error that callers get; tries is the number of tries.
func (c *Client) failed(ctx context.Context, name string, err error, tries int) error {
	name = fetch.Printable(name)
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %s: %w", c.location, name, ctx.Err())
	}
	f := &failure{kinds: []error{store.ErrUnavailable}, public: "cannot be asked now"}
	text := fetch.Printable(err.Error())
	var e *fetch.Error
	var d *denied
	if errors.As(err, &e) && e.Status != 0 && e.Kind != fetch.ErrChanged {
		d = denial(e, &c.location)
		text = fetch.Printable(d.explain(text))
		f.public = strings.TrimSpace(fmt.Sprintf("it answers %d %s", d.Status, http.StatusText(d.Status)))
		if d.wantsRest() {
			f.after = d.RetryAfter
		}
	}
	if tries > 1 {
		text += fmt.Sprintf(" (%d tries)", tries)
	}
	switch {
	case d != nil && d.missing():
		f.kinds = []error{fs.ErrNotExist}
	case d != nil && d.unauthorized():
		advice, file := c.keys.advice(d.Status)
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
	case errors.Is(err, fetch.ErrChanged):
		f.kinds = append(f.kinds, fetch.ErrChanged)
	case errors.Is(err, store.ErrTooLarge), errors.Is(err, fetch.ErrTooLarge):
		f.kinds = []error{store.ErrTooLarge}
	}
	f.text = fmt.Sprintf("%s: %s: %s", c.location, name, text)
	f.public = fmt.Sprintf("%s: %s", c.location, f.public)
	return f
}

// failure is an error that matches its kinds only.
type failure struct {
	text   string
	public string // for clients: the address of the server, its status, and our words
	kinds  []error
	after  time.Duration
}

func (f *failure) Error() string   { return f.text }
func (f *failure) Public() string  { return f.public }
func (f *failure) Unwrap() []error { return f.kinds }

// RetryAfter is how long the server wants no requests; 0: it does not tell.
func (f *failure) RetryAfter() time.Duration { return f.after }
