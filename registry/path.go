package registry

import (
	"fmt"
	"io/fs"
	"net/url"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Limits of what a path may hold. The longest legal path, with every character escaped, is shorter than maxPath.
const (
	maxPath       = 2048
	maxRepository = 255
	maxTag        = 128
)

// A kind is what a path asks for.
type kind uint8

const (
	ping kind = iota + 1
	manifest
	blob
	tags
	catalog
	referrers
)

// missing is the code for a thing of this kind that does not exist.
func (k kind) missing() errorCode {
	switch k {
	case manifest:
		return errManifestUnknown
	case blob:
		return errBlobUnknown
	}
	return errNameUnknown
}

// A route is a parsed path: what is asked for, and of what. All its parts match their grammar.
type route struct {
	kind       kind
	repository string  // "" for ping and catalog
	inner      string  // the repository as its backend knows it
	tag        string  // a manifest has either a tag
	digest     v1.Hash // or a digest, as a blob and referrers have
}

// parsePath reads a path as it stands in the request line, with its escapes. Each part between slashes is decoded
// once (RFC 3986, section 2.4), so an escaped slash or dot is a character like any other, which no name allows.
// The error is a *failure.
//
// Source: OCI distribution specification 1.1, "Endpoints" and "Pulling manifests".
func parsePath(escaped string) (route, error) {
	if escaped == "/v2" || escaped == "/v2/" {
		return route{kind: ping}, nil
	}
	rest, ok := strings.CutPrefix(escaped, "/v2/")
	if !ok {
		return route{}, problem(errEndpoint, "no such endpoint")
	}
	if len(escaped) > maxPath {
		return route{}, problem(errNameInvalid, "path is longer than %d characters", maxPath)
	}
	parts := strings.Split(rest, "/")
	for i, p := range parts {
		var err error
		if parts[i], err = url.PathUnescape(p); err != nil {
			return route{}, problem(errNameInvalid, "path: %w", err)
		}
	}
	if len(parts) == 1 && parts[0] == "_catalog" {
		return route{kind: catalog}, nil
	}
	return parseRepositoryPath(parts)
}

// parseRepositoryPath reads <repository>/<keyword>/<reference>. A repository may itself have a component that is
// spelled like a keyword, so the parts are read from the end.
func parseRepositoryPath(parts []string) (rt route, err error) {
	if len(parts) < 2 {
		return route{}, noEndpoint(parts)
	}
	name, keyword, ref := parts[:len(parts)-2], parts[len(parts)-2], parts[len(parts)-1]
	switch {
	case keyword == "manifests":
		rt.kind = manifest
	case keyword == "blobs":
		rt.kind = blob
	case keyword == "referrers":
		rt.kind = referrers
	case keyword == "tags" && ref == "list":
		rt.kind = tags
	default:
		return route{}, noEndpoint(parts)
	}
	if rt.repository, err = parseRepository(name); err != nil {
		return route{}, err
	}
	switch {
	case rt.kind == tags:
	case rt.kind == manifest && !strings.Contains(ref, ":"):
		rt.tag, err = parseTag(ref)
	default:
		rt.digest, err = parseDigest(ref)
	}
	if err != nil {
		return route{}, err
	}
	return rt, nil
}

// noEndpoint tells a path that is known nowhere from one that tries to lead elsewhere.
func noEndpoint(parts []string) error {
	if n := len(parts) - 1; n > 0 && parts[n] == "" {
		parts = parts[:n]
	}
	for _, p := range parts {
		if p == "" || p == "." || p == ".." || strings.Contains(p, "/") {
			return problem(errNameInvalid, "path has the illegal component %q", truncate(p, 64))
		}
	}
	return problem(errEndpoint, "no such endpoint")
}

// parseRepository reads the components of a name: [a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*, joined by slashes.
func parseRepository(components []string) (string, error) {
	name := strings.Join(components, "/")
	if len(name) > maxRepository {
		return "", problem(errNameInvalid, "repository name is longer than %d characters", maxRepository)
	}
	if len(components) == 0 {
		return "", problem(errNameInvalid, "repository name is empty")
	}
	for _, c := range components {
		if !isComponent(c) {
			return "", problem(errNameInvalid, "repository name %q has the illegal component %q", name, c)
		}
	}
	return name, nil
}

func isComponent(s string) bool {
	for {
		s0 := s
		s = strings.TrimLeft(s, "abcdefghijklmnopqrstuvwxyz0123456789")
		if len(s) == len(s0) {
			return false // empty, or not a letter or digit where one must be
		}
		if s == "" {
			return true
		}
		switch s0 = s; s[0] {
		case '.':
			s = s[1:]
		case '_':
			s = strings.TrimPrefix(s[1:], "_")
		default:
			if s = strings.TrimLeft(s, "-"); len(s) == len(s0) {
				return false
			}
		}
	}
}

// parseTag reads [A-Za-z0-9_][A-Za-z0-9._-]{0,127}.
func parseTag(s string) (string, error) {
	if s == "" || len(s) > maxTag {
		return "", problem(errTagInvalid, "tag must have 1 to %d characters", maxTag)
	}
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_':
		case i > 0 && (c == '.' || c == '-'):
		default:
			return "", problem(errTagInvalid, "tag %q has the illegal character %q", s, c)
		}
	}
	return s, nil
}

// parseDigest reads the two digests the image specification registers; hex digits are lower case.
func parseDigest(s string) (v1.Hash, error) {
	algorithm, digits, _ := strings.Cut(s, ":")
	want := 0
	switch algorithm {
	case "sha256":
		want = 64
	case "sha512":
		want = 128
	default:
		return v1.Hash{}, problem(errDigestInvalid, "digest %q is neither sha256 nor sha512", truncate(s, 160))
	}
	if len(digits) != want || strings.Trim(digits, "0123456789abcdef") != "" {
		return v1.Hash{}, problem(errDigestInvalid, "digest %q: want %d lower case hex digits", truncate(s, 160), want)
	}
	return v1.Hash{Algorithm: algorithm, Hex: digits}, nil
}

// known tells whether content can have d as its digest here: everything is named by its sha256.
func known(d v1.Hash) error {
	if d.Algorithm == "sha512" {
		return fmt.Errorf("digest sha512:%s: content is known by its sha256 only: %w", d.Hex, fs.ErrNotExist)
	}
	return nil
}
