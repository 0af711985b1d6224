package fetch

import (
	"net"
	"net/url"
	"strings"
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
