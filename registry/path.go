package registry

import (
	"fmt"
	"io/fs"
	"net/url"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/nixreg/nixreg/internal/oci"
)

// maxPath is longer than the longest legal path with every character escaped.
const maxPath = 2048

// kind is the kind of thing that a path names.
type kind uint8

const (
	ping kind = iota + 1
	manifest
	blob
	tags
	catalog
	referrers
)

// missing is the error code for an absent thing of this kind.
func (k kind) missing() errorCode {
	switch k {
	case manifest:
		return errManifestUnknown
	case blob:
		return errBlobUnknown
	}
	return errNameUnknown
}

// route is a parsed path. All its parts match their grammar.
type route struct {
	kind       kind
	repository string  // "" for ping and catalog
	inner      string  // the repository as its backend knows it
	tag        string  // a manifest has either a tag
	digest     v1.Hash // or a digest, as a blob and referrers have
}

// parsePath parses a path with its escapes, as in the request line. It decodes each part between slashes once (RFC 3986, section 2.4), so
// an escaped slash is a character in a name, which no name allows. The error is a *failure.
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

// parseRepositoryPath parses <repository>/<keyword>/<reference>, from the end, because a component of a repository may be a keyword.
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
		if rt.tag = ref; !oci.IsTag(ref) {
			return route{}, problem(errTagInvalid, "tag %q: want %s", truncate(ref, 160), oci.TagForm)
		}
	default:
		if rt.digest, err = v1.NewHash(ref); err != nil {
			return route{}, problem(errDigestInvalid, "digest %q: want sha256: or sha512: and its hex digits in lower case", truncate(ref, 160))
		}
	}
	return rt, nil
}

// noEndpoint is the error for a path without an endpoint, or with a component that no endpoint allows.
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

// parseRepository parses the components of a name.
func parseRepository(components []string) (string, error) {
	name := strings.Join(components, "/")
	switch i := slices.IndexFunc(components, func(c string) bool { return !oci.IsComponent(c) }); {
	case len(components) == 0:
		return "", problem(errNameInvalid, "repository name is empty")
	case len(name) > oci.MaxName:
		return "", problem(errNameInvalid, "repository name is longer than %d characters", oci.MaxName)
	case i >= 0 && oci.IsRepository(strings.ToLower(name)):
		return "", problem(errNameInvalid, "repository name %q has upper case letters: did you mean %s?", name, strings.ToLower(name))
	case i >= 0:
		return "", problem(errNameInvalid, "repository name %q has the illegal component %q", name, components[i])
	}
	return name, nil
}

// known reports whether content can have the digest d: every digest here is a sha256.
func known(d v1.Hash) error {
	if d.Algorithm == "sha512" {
		return fmt.Errorf("digest sha512:%s: content is known by its sha256 only: %w", d.Hex, fs.ErrNotExist)
	}
	return nil
}
