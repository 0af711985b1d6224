package imagefile

import (
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/nixreg/nixreg/internal/oci"
	"github.com/nixreg/nixreg/store"
)

const maxOwner = 255 // bytes

// The defaults other than zero values.
//
// Source: nixpkgs pkgs/build-support/docker/default.nix, streamLayeredImage.
const (
	defaultTime   = "1970-01-01T00:00:01Z"
	defaultLayers = 100
	defaultOwner  = "root"
	defaultTag    = "latest" // nixpkgs takes the hash of the derivation, which a definition does not have
)

// attribute is one component of a package's name. It may also be an attribute path, with letters of any case, and a _ before a
// leading digit.
const attribute = `_?[A-Za-z0-9]+(?:(?:\._?|_|__|-+)[A-Za-z0-9]+)*`

var (
	packageName = regexp.MustCompile(`^` + attribute + `(?:/` + attribute + `)*$`)
	transport   = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*:`)
)

// goarchOf maps other names of architectures to GOARCH.
var goarchOf = map[string]string{
	"x86_64": "amd64", "x86": "386", "i386": "386", "i686": "386", "aarch64": "arm64", "armv6l": "arm", "armv7l": "arm",
	"powerpc64": "ppc64", "powerpc64le": "ppc64le", "loongarch64": "loong64",
	"x86_64-linux": "amd64", "i686-linux": "386", "aarch64-linux": "arm64", "armv6l-linux": "arm", "armv7l-linux": "arm",
	"powerpc64le-linux": "ppc64le", "riscv64-linux": "riscv64", "s390x-linux": "s390x", "loongarch64-linux": "loong64",
}

// contentProblem returns the problem of an element of contents, or "".
func contentProblem(s string) string {
	if !strings.HasPrefix(s, "/") {
		name, tag, tagged := oci.SplitTag(s)
		if len(s) > oci.MaxName+len(":")+oci.MaxTag || !packageName.MatchString(name) || tagged && !oci.IsTag(tag) {
			return "neither a store path nor a package: want NAME[:TAG] as in docker pull, or an attribute path"
		}
		return ""
	}
	p, _, err := store.ParseAbs(s)
	switch {
	case err != nil:
		return "not a store path: want " + store.Dir + "/HASH-NAME"
	case p.Abs() != s:
		return "below a store path: write " + p.Abs()
	}
	return ""
}

// baseImage checks the fromImage of a file, and returns it as an absolute path or a docker:// reference.
func baseImage(file, s string) (ref, problem string) {
	if strings.HasPrefix(s, "docker://") {
		return s, upstreamProblem(s)
	}
	switch {
	case s == "":
		return "", "want a path or docker://HOST/REPO@sha256:DIGITS; leave it out for none"
	case transport.MatchString(s):
		return "", "want a path without a transport, or docker://HOST/REPO@sha256:DIGITS"
	case !filepath.IsAbs(s):
		return filepath.Join(filepath.Dir(file), s), ""
	case strings.HasPrefix(s, store.Dir+"/"):
		if _, _, err := store.ParseAbs(s); err != nil {
			return "", "not a path in the store: want " + store.Dir + "/HASH-NAME"
		}
	}
	return s, ""
}

func upstreamProblem(s string) string {
	name, digest, _ := strings.Cut(strings.TrimPrefix(s, "docker://"), "@")
	host, rest, _ := strings.Cut(name, "/")
	switch _, _, err := oci.SplitHost(name); {
	case digest == "":
		return "pin it by digest: docker://HOST/REPO@sha256:DIGITS, without a tag"
	case rest == "" || host != "localhost" && !strings.ContainsAny(host, ".:"):
		return "name the host, such as docker.io/library/" + name[strings.LastIndexByte(name, '/')+1:]
	case err != nil || !oci.IsDigest(digest) || !strings.HasPrefix(digest, "sha256:"):
		return "want docker://HOST/REPO@sha256:DIGITS, without a tag"
	}
	return ""
}

// parseTime parses "now" or a time in ISO 8601, and returns it in RFC 3339. nixpkgs gives the same text to date -d. A time
// without a zone is in UTC, as in a build of Nix.
func parseTime(s string) (string, bool) {
	if s == "now" {
		return s, true
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02 15:04:05Z07:00", "2006-01-02T15:04:05", time.DateTime, time.DateOnly} {
		t, err := time.Parse(layout, s)
		if t = t.UTC(); err == nil && 0 < t.Year() && t.Year() < 10000 {
			return t.Format(time.RFC3339), true
		}
	}
	return "", false
}

// isDigits reports whether s consists of digits.
func isDigits(s, digits string) bool { return s != "" && strings.Trim(s, digits) == "" }
