package registry

import (
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Limits of the Accept headers of a request; the rest is ignored.
const (
	maxAcceptBytes  = 16 << 10
	maxAcceptRanges = 64
)

// mediaRange is one element of an Accept header. Both names are in lower case; either may be "*".
type mediaRange struct {
	typ, subtype string
	q            int // thousandths
}

// accept is the Accept header of a request. The empty one accepts everything.
//
// Source: RFC 9110, sections 12.4.2 and 12.5.1.
type accept []mediaRange

// parseAccept reads all the Accept lines of a request as one list. Malformed elements are left out.
func parseAccept(lines []string) accept {
	var a accept
	budget := maxAcceptBytes
	for _, line := range lines {
		if budget -= len(line); budget < 0 {
			break
		}
		for element := range strings.SplitSeq(line, ",") {
			if len(a) == maxAcceptRanges {
				return a
			}
			if m, ok := parseMediaRange(element); ok {
				a = append(a, m)
			}
		}
	}
	return a
}

// parseMediaRange reads one element. Parameters other than q are ignored: no manifest type has any.
func parseMediaRange(s string) (m mediaRange, ok bool) {
	name, params, _ := strings.Cut(s, ";")
	m.typ, m.subtype, ok = strings.Cut(strings.ToLower(trimSpace(name)), "/")
	if !ok || !isToken(m.typ) || !isToken(m.subtype) || m.typ == "*" && m.subtype != "*" {
		return m, false
	}
	m.q = 1000
	for p := range strings.SplitSeq(params, ";") {
		key, value, _ := strings.Cut(p, "=")
		if strings.EqualFold(trimSpace(key), "q") {
			m.q, ok = parseQuality(trimSpace(value))
			return m, ok
		}
	}
	return m, true
}

// parseQuality reads a qvalue, 0 to 1 with at most three decimals, in thousandths.
func parseQuality(s string) (q int, ok bool) {
	whole, decimals, _ := strings.Cut(s, ".")
	if whole != "0" && whole != "1" || len(decimals) > 3 || strings.Trim(decimals, "0123456789") != "" {
		return 0, false
	}
	for _, c := range whole + (decimals + "000")[:3] {
		q = q*10 + int(c-'0')
	}
	return q, q <= 1000
}

// best returns the offer with the highest q. Of equal ones, it prefers one that the client names over one that matches a wildcard, and
// then the first.
func (a accept) best(offers ...types.MediaType) (best types.MediaType, ok bool) {
	if len(a) == 0 && len(offers) > 0 {
		return offers[0], true
	}
	bestQ, bestNamed := 0, false
	for _, o := range offers {
		q, named := a.quality(string(o))
		if q > bestQ || q == bestQ && q > 0 && named && !bestNamed {
			best, bestQ, bestNamed = o, q, named
		}
	}
	return best, bestQ > 0
}

// quality returns the q of the most specific range that matches a media type, and whether that range names it in full.
func (a accept) quality(mediaType string) (q int, named bool) {
	typ, subtype, _ := strings.Cut(strings.ToLower(mediaType), "/")
	specific := 0
	for _, m := range a {
		s := 0
		switch {
		case m.typ == typ && m.subtype == subtype:
			s = 3
		case m.typ == typ && m.subtype == "*":
			s = 2
		case m.typ == "*":
			s = 1
		}
		if s > specific || s == specific && s > 0 && m.q > q {
			specific, q = s, m.q
		}
	}
	return q, specific == 3
}

// trimSpace removes optional white space of HTTP.
func trimSpace(s string) string { return strings.Trim(s, " \t") }

// isToken reports whether s is a token of RFC 9110, section 5.6.2.
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0:
		default:
			return false
		}
	}
	return s != ""
}
