package fetch

import (
	"net"
	"net/netip"
	"net/url"
	"strings"
	"unicode"
)

// Origin returns the scheme, host and port of an address, in lower case and with the port in any case:
// "https://quay.io:443".
func Origin(u *url.URL) string { return originOf(u).String() }

type origin struct{ scheme, host string }

func (o origin) String() string { return o.scheme + "://" + o.host }

func originOf(u *url.URL) origin {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return origin{u.Scheme, net.JoinHostPort(strings.TrimSuffix(strings.ToLower(u.Hostname()), "."), port)}
}

// Owns reports whether an address is at the origin of the base, which gets the credentials.
func (c *Client) Owns(u *url.URL) bool {
	base, to := originOf(c.options.Base()), originOf(u)
	if to == base {
		return true
	}
	host, ok := strings.CutSuffix(base.host, ":80")
	return ok && base.scheme == "http" && to == origin{"https", host + ":443"}
}

// Check reports, by an error matching [ErrRefused], whether the base may lead to an address, as far as its name tells.
func (c *Client) Check(u *url.URL) error { return c.check(c.options.Base(), u) }

// check decides whether a request may go to u, to which an answer of from leads.
func (c *Client) check(from, u *url.URL) error {
	base, to := originOf(c.options.Base()), originOf(u)
	switch {
	case u.User != nil, u.Hostname() == "", u.Opaque != "", to.scheme != "https" && to.scheme != "http":
		return refusal("led to what is no address of a server: %.300s", to)
	case to.scheme == "http" && (base.scheme != "http" || from.Scheme != "http"), to.host == base.host && to != base:
		return refusal("led from %.300s to %.300s", originOf(from), to)
	case c.Owns(u):
		return nil
	}
	host := strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
	if strings.ContainsFunc(host, func(r rune) bool { return r > unicode.MaxASCII }) { // the lookup takes ① for a 1
		return refusal("led to %+.300q, which is not ASCII", u.Hostname())
	}
	if a, err := netip.ParseAddr(host); err == nil {
		return c.admit(classOf(a), to.host)
	}
	if EndsInNumber(host) { // resolvers may take it for an address
		return refusal("led to %.300s, which is neither a name nor an address", to)
	}
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return c.admit(loopback, to.host)
	}
	return nil
}

// admit decides whether the base may lead to a host whose address is of this class.
func (c *Client) admit(k class, host string) error {
	if own := class(c.class.Load()); k != public && k != own || k == metadata {
		return refusal("%.300s has a %s address, to which a server with a %s one must not lead", host, k, own)
	}
	return nil
}

// EndsInNumber reports whether a host may be taken for an IPv4 address, in any of its notations (127.1, 0x7f000001).
//
// Source: WHATWG URL standard, "ends in a number".
func EndsInNumber(host string) bool {
	host = strings.TrimSuffix(host, ".")
	last := strings.ToLower(host[strings.LastIndexByte(host, '.')+1:])
	if hex, ok := strings.CutPrefix(last, "0x"); ok {
		return strings.Trim(hex, "0123456789abcdef") == ""
	}
	return last != "" && strings.Trim(last, "0123456789") == ""
}
