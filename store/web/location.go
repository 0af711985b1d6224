package web

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path"
	"strings"

	"github.com/aws/smithy-go/encoding/httpbinding"

	"github.com/nixreg/nixreg/internal/fetch"
)

const (
	maxLocation = 8 << 10 // bytes
	maxName     = 4 << 10
)

// Location is the address of a directory of files, and how to read them. The zero value is no address.
type Location struct {
	base   url.URL // http or https; the path has no slash at its end
	user   *url.Userinfo
	shown  string
	bucket *bucket // nil: not S3

	netrc, token, ca string // files
}

// bucket has the parameters of a location in S3.
type bucket struct{ region, profile string }

// String returns the address without credentials and parameters, for messages and as a key. It has the endpoint of S3, which
// tells one bucket from another of the same name.
func (l Location) String() string { return l.shown }

// ignored are the parameters of Nix about writing to a cache, and about the order of caches.
//
// Source: Nix manual, "Store types": HTTP and S3 binary cache store; names of older versions included.
var ignored = [...]string{
	"buffer-size", "compression", "compression-level", "index-debug-info", "local-nar-cache", "log-compression", "ls-compression",
	"multipart-chunk-size", "multipart-threshold", "multipart-upload", "narinfo-compression", "parallel-compression", "path-info-cache-size",
	"priority", "secret-key", "secret-keys", "storage-class", "store", "system-features", "want-mass-query", "write-nar-listing",
}

// ParseLocation reads the URL of a store: https://host/path, http://…, or s3://bucket[/prefix]. Parameters are netrc-file,
// token-file and ca-file; of S3 region (us-east-1), endpoint (a host, or the URL of one), scheme (https), profile and
// addressing-style, as in Nix. It returns the parameters that are unknown to it and to Nix. Errors match [fs.ErrInvalid] and
// have no credentials in their text.
func ParseLocation(s string) (Location, url.Values, error) {
	l, rest, err := parseLocation(s)
	if err != nil {
		return Location{}, nil, fmt.Errorf("store %.200s: %w: %w", redacted(s), err, fs.ErrInvalid)
	}
	return l, rest, nil
}

func parseLocation(s string) (Location, url.Values, error) {
	if len(s) > maxLocation {
		return Location{}, nil, fmt.Errorf("longer than %d bytes", maxLocation)
	}
	u, err := url.Parse(s)
	if err != nil {
		return Location{}, nil, errors.New("not a URL") // the text of net/url has the whole URL
	}
	values, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return Location{}, nil, errors.New("parameters are not percent-encoded right")
	}
	p := parameters{values: values}
	p.checkNames()
	l := Location{netrc: p.file("netrc-file"), token: p.file("token-file"), ca: p.file("ca-file")}
	switch {
	case u.Opaque != "" || u.Hostname() == "" || u.Fragment != "":
		p.fail(errors.New("want https://host/path, http://host/path or s3://bucket"))
	case u.Scheme == "http" || u.Scheme == "https":
		l.user, l.base = u.User, baseOf(u)
		l.shown = l.base.String()
	case u.Scheme == "s3":
		l.parseBucket(u, &p)
	default:
		p.fail(fmt.Errorf("scheme %.20q: want https, http or s3", u.Scheme))
	}
	for _, name := range ignored {
		delete(values, name)
	}
	return l, values, p.err
}

// baseOf is the part of a URL to which names are appended.
func baseOf(u *url.URL) url.URL {
	b := url.URL{Scheme: u.Scheme, Host: strings.ToLower(u.Host)}
	b.Path, b.RawPath = strings.TrimRight(u.Path, "/"), strings.TrimRight(u.RawPath, "/")
	return b
}

// parameters are the parameters of a URL; err is the first error in them.
type parameters struct {
	values url.Values
	err    error
}

func (p *parameters) fail(err error) {
	if p.err == nil {
		p.err = err
	}
}

// take removes a parameter and returns its value, or def.
func (p *parameters) take(name, def string) string {
	v, ok := p.values[name]
	delete(p.values, name)
	switch {
	case !ok:
		return def
	case len(v) > 1:
		p.fail(fmt.Errorf("parameter %s is given %d times", name, len(v)))
	case v[0] == "":
		p.fail(fmt.Errorf("parameter %s has no value", name))
	}
	return v[0]
}

// checkNames refuses invalid names, such as a piece of a password with a ? in it.
func (p *parameters) checkNames() {
	for name := range p.values {
		if name == "" || strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != "" {
			p.fail(errors.New("want parameters such as ?name=value&name=value after the path, percent-encoded"))
		}
	}
}

func (p *parameters) file(name string) string {
	f := p.take(name, "")
	if f != "" && (!path.IsAbs(f) || strings.ContainsRune(f, 0)) {
		p.fail(fmt.Errorf("parameter %s: %.100q is not an absolute path", name, f))
	}
	return f
}

// parseBucket reads an address of S3.
//
// Source: Nix, S3BinaryCacheStoreConfig in s3-binary-cache-store.hh, and ParsedS3URL in s3-url.cc; Amazon S3 user guide,
// "Virtual hosting of general purpose buckets".
func (l *Location) parseBucket(u *url.URL, p *parameters) {
	name := u.Host
	if u.User != nil || !isBucket(name) {
		p.fail(errors.New("want s3://bucket[/prefix], the bucket's name of letters, digits, dots and dashes; credentials come from the environment or a profile"))
	}
	if l.netrc != "" || l.token != "" {
		p.fail(errors.New("netrc-file and token-file are for http and https; S3 has the environment, or ?profile="))
	}
	l.bucket = &bucket{region: p.take("region", "us-east-1"), profile: p.take("profile", "")}
	if !isBucket(l.bucket.region) {
		p.fail(fmt.Errorf("region %.100q: want one such as eu-west-1", l.bucket.region))
	}
	scheme, style := p.take("scheme", "https"), p.take("addressing-style", "auto")
	endpoint := p.take("endpoint", "")
	at, err := endpointURL(scheme, endpoint, l.bucket.region)
	if err != nil {
		p.fail(err)
		return
	}
	switch virtual := endpoint == "" && !strings.Contains(name, "."); {
	case style == "virtual", style == "auto" && virtual:
		at.Host = name + "." + at.Host
	case style == "path", style == "auto":
		at.Path += "/" + name
	default:
		p.fail(fmt.Errorf("addressing-style %.100q: want auto, path or virtual", style))
	}
	prefix := strings.Trim(u.Path, "/")
	l.shown = "s3://" + name
	if prefix != "" {
		l.shown += "/" + (&url.URL{Path: prefix}).EscapedPath()
		at.Path += "/" + prefix
	}
	if endpoint != "" {
		l.shown += "?endpoint=" + url.QueryEscape(endpoint)
	}
	at.RawPath = httpbinding.EscapePath(at.Path, false)
	l.base = *at
}

// endpointURL is the URL of a bucket's server.
func endpointURL(scheme, endpoint, region string) (*url.URL, error) {
	if scheme != "http" && scheme != "https" {
		return nil, fmt.Errorf("scheme %.100q: want https or http", scheme)
	}
	switch {
	case endpoint == "" && strings.HasPrefix(region, "cn-"):
		endpoint = scheme + "://s3." + region + ".amazonaws.com.cn"
	case endpoint == "":
		endpoint = scheme + "://s3." + region + ".amazonaws.com"
	case !strings.Contains(endpoint, "://"):
		endpoint = scheme + "://" + endpoint
	}
	u, err := url.Parse(endpoint)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("endpoint: want a host such as minio.example.org:9000, or its URL, without a user or parameters")
	}
	b := baseOf(u)
	return &b, nil
}

// isBucket reports whether s may be the name of a bucket, or that of a region.
func isBucket(s string) bool {
	return s != "" && len(s) <= 255 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_") == ""
}

// redacted is the URL of a store for messages: without user and parameters, and short.
func redacted(s string) string {
	if u, err := url.Parse(s[:min(len(s), maxLocation)]); err == nil && u.Host != "" {
		return fetch.Printable((&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String())
	}
	if strings.Contains(s, "@") {
		scheme, _, _ := strings.Cut(s, ":")
		return fetch.Printable(scheme) + ":…"
	}
	s, _, _ = strings.Cut(s, "?")
	return fetch.Printable(s)
}

// target is the URL of a file. For a web server, name may have a query and percent-encoded bytes, as in a narinfo. For S3, name
// is the key.
func (l *Location) target(name string) (*url.URL, error) {
	u := l.base
	file, query, plain := name, "", name
	if l.bucket == nil {
		file, query, _ = strings.Cut(name, "?")
		plain = file
		if p, err := url.PathUnescape(file); err == nil {
			plain = p
		}
	}
	if len(name) > maxName || !fs.ValidPath(plain) || plain == "." || hasControl(plain) || hasControl(query) {
		return nil, fmt.Errorf("%s: %.100q is no name of a file below it: %w", l.shown, l.shownName(name), fs.ErrInvalid)
	}
	if l.bucket != nil {
		u.Path += "/" + name
		u.RawPath = httpbinding.EscapePath(u.Path, false)
		return &u, nil
	}
	u.RawPath = u.EscapedPath() + "/" + file // counts if it is an encoding of Path
	u.Path += "/" + plain
	u.RawQuery = strings.ReplaceAll(query, " ", "%20")
	return &u, nil
}

// shownName is a name for messages: without its query, which may be secret.
func (l *Location) shownName(name string) string {
	if l.bucket == nil {
		name, _, _ = strings.Cut(name, "?")
	}
	return name
}

func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}
