package pull

import (
	"cmp"
	"regexp"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Reference is an image of a registry. The zero Digest is none.
type Reference struct {
	Familiar   string // the name as it was given: nginx
	Host       string // docker.io, 127.0.0.1:5000
	Repository string // library/nginx
	Tag        string // may be empty if there is a digest
	Digest     v1.Hash
}

// Grammar of names: the distribution project's "reference" package, whose rules skopeo has.
const (
	label = `[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?`
	host  = `(?:` + label + `(?:\.` + label + `)*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?`
	part  = `[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*`
)

var (
	hostPattern   = regexp.MustCompile(`^` + host + `$`)
	pathPattern   = regexp.MustCompile(`^` + part + `(?:/` + part + `)*$`)
	tagPattern    = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$`)
	digestPattern = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
	idPattern     = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

const (
	transport = "docker://"
	dockerHub = "docker.io"
	maxName   = 255
	latest    = "latest"
)

// ParseReference takes docker://[HOST/]REPOSITORY[:TAG][@DIGEST] apart, with the short forms that Docker and skopeo
// have: docker://nginx is docker://docker.io/library/nginx:latest. A digest is sha256 and decides alone what is meant.
// What is no reference gives an error matching [fs.ErrInvalid].
func ParseReference(s string) (Reference, error) {
	rest, ok := strings.CutPrefix(s, transport)
	if !ok {
		return Reference{}, invalid("image %.300q: want docker://[HOST/]NAME[:TAG][@DIGEST]", s)
	}
	var r Reference
	rest, digest, ok := strings.Cut(rest, "@")
	if ok {
		if !digestPattern.MatchString(digest) {
			return Reference{}, invalid("image %.300q: digest: want @sha256: and 64 hex digits", s)
		}
		r.Digest = v1.Hash{Algorithm: "sha256", Hex: digest[len("sha256:"):]}
	}
	r.Familiar = rest
	if i := strings.LastIndexByte(rest, ':'); i > strings.LastIndexByte(rest, '/') {
		r.Familiar, r.Tag = rest[:i], rest[i+1:]
		if !tagPattern.MatchString(r.Tag) {
			return Reference{}, badTag(r.Tag)
		}
	}
	var err error
	if r.Host, r.Repository, err = splitName(r.Familiar); err != nil {
		return Reference{}, err
	}
	if r.Tag == "" && r.Digest == (v1.Hash{}) {
		r.Tag = latest
	}
	return r, nil
}

// String is the full reference, without docker://.
func (r Reference) String() string {
	s := r.Host + "/" + r.Repository
	if r.Tag != "" {
		s += ":" + r.Tag
	}
	if r.Digest != (v1.Hash{}) {
		s += "@" + r.Digest.String()
	}
	return s
}

// FinalTag is what pullImage and nix-prefetch-docker call the image if they are not told: its tag, else latest.
func (r Reference) FinalTag() string { return cmp.Or(r.Tag, latest) }

// ask is what the registry is asked for.
func (r Reference) ask() string {
	if r.Digest != (v1.Hash{}) {
		return r.Digest.String()
	}
	return r.Tag
}

// NormalizeName returns the full form of a name without tag or digest: nginx is docker.io/library/nginx. What is no name
// gives an error matching [fs.ErrInvalid].
func NormalizeName(s string) (string, error) {
	registry, repository, err := splitName(s)
	if err != nil {
		return "", err
	}
	return registry + "/" + repository, nil
}

// splitName tells a host from the first part of a repository as Docker does: a host has a dot or a port, or is
// localhost.
func splitName(s string) (registry, repository string, err error) {
	registry, repository, ok := strings.Cut(s, "/")
	if !ok || (!strings.ContainsAny(registry, ".:") && registry != "localhost") {
		registry, repository = dockerHub, s
	}
	if registry == "index.docker.io" {
		registry = dockerHub
	}
	if registry == dockerHub && !strings.Contains(repository, "/") {
		repository = "library/" + repository
	}
	full := len(registry) + len("/") + len(repository)
	if full > maxName || idPattern.MatchString(s) || !hostPattern.MatchString(registry) || !pathPattern.MatchString(repository) {
		return "", "", invalid("image name %.300q: want [HOST/]NAME in lower case", s)
	}
	return registry, repository, nil
}

func badTag(tag string) error {
	return invalid("image tag %.300q: want up to 128 letters, digits and ._-", tag)
}
