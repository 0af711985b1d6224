package oci

import (
	"net"
	"strings"

	"github.com/nixreg/nixreg/internal/errkind"
)

// Reference is an image of a registry, in full.
type Reference struct {
	Familiar   string // the name as it was given: nginx
	Host       string // docker.io, 127.0.0.1:5000
	Repository string // library/nginx
	Tag        string // may be "" with a digest
	Digest     string // "" for none
}

// ParseReference reads [HOST/]REPOSITORY[:TAG][@DIGEST] with the short forms of docker pull: nginx is
// docker.io/library/nginx:latest. Errors match [fs.ErrInvalid], and their text has at most the part that is wrong.
func ParseReference(s string) (Reference, error) {
	name, digest, byDigest := strings.Cut(s, "@")
	if byDigest && !IsDigest(digest) {
		return Reference{}, errkind.Invalid("digest %.200q: want sha256: and 64 hex digits in lower case", digest)
	}
	r := Reference{Digest: digest}
	var tagged bool
	if r.Familiar, r.Tag, tagged = SplitTag(name); tagged && !IsTag(r.Tag) {
		return Reference{}, errkind.Invalid("image tag %.300q: want %s", r.Tag, TagForm)
	}
	var err error
	if r.Host, r.Repository, err = SplitHost(r.Familiar); err != nil {
		return Reference{}, err
	}
	if !tagged && !byDigest {
		r.Tag = Latest
	}
	return r, nil
}

// String is the full form.
func (r Reference) String() string {
	s := r.Host + "/" + r.Repository
	if r.Tag != "" {
		s += ":" + r.Tag
	}
	if r.Digest != "" {
		s += "@" + r.Digest
	}
	return s
}

// SplitHost reads [HOST/]REPOSITORY as Docker does. What stands before the first slash is a host if it is localhost, or has a
// dot, a colon or an upper case letter; else the host is Docker Hub's. Errors match [fs.ErrInvalid].
//
// Source: github.com/distribution/reference, splitDockerDomain. Its bound is one of the repository alone; this one is of
// the full name, as the distribution-spec has it.
func SplitHost(name string) (host, repository string, err error) {
	host, repository, ok := strings.Cut(name, "/")
	if !ok || host != "localhost" && !strings.ContainsAny(host, ".:") && host == strings.ToLower(host) {
		host, repository = DockerHub, name
	}
	if host == "index.docker.io" {
		host = DockerHub
	}
	if host == DockerHub && !strings.Contains(repository, "/") {
		repository = "library/" + repository
	}
	if len(host)+len("/")+len(repository) > MaxName || idPattern.MatchString(name) || !IsHost(host) || !IsRepository(repository) {
		return "", "", errkind.Invalid("image name %.300q: want [HOST/]NAME in lower case", name)
	}
	return host, repository, nil
}

// IsLoopback reports whether a registry's host, with or without a port, is this machine by its name alone: localhost, 127.0.0.0/8
// or ::1. Plain HTTP is taken there, because no network is between, as Docker does.
//
// Source: moby, registry/config.go: 127.0.0.0/8 and ::1 are insecure registries by default.
func IsLoopback(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.ToLower(strings.TrimSuffix(strings.TrimPrefix(host, "["), "]"))
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}
