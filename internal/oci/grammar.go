package oci

import "regexp"

const (
	component  = `[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*`
	repository = component + `(?:/` + component + `)*`

	// No port has more than five digits; distribution/reference takes any number.
	label = `[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?`
	host  = `(?:` + label + `(?:\.` + label + `)*|\[[0-9A-Fa-f:]+\])(?::[0-9]{1,5})?`
)

var (
	componentPattern  = regexp.MustCompile(`^` + component + `$`)
	repositoryPattern = regexp.MustCompile(`^` + repository + `$`)
	hostPattern       = regexp.MustCompile(`^` + host + `$`)
	namePattern       = regexp.MustCompile(`^(?:` + host + `/)?` + repository + `$`)
	tagPattern        = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$`)
	digestPattern     = regexp.MustCompile(`^(?:sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$`)
	idPattern         = regexp.MustCompile(`^[0-9a-f]{64}$`) // an image's ID for docker, never a name
)

// TagForm is the grammar of tags for people, after "want".
const TagForm = "1 to 128 letters, digits, _, . and -, the first no . or -"

// IsComponent reports whether s is one component of a repository's name.
func IsComponent(s string) bool { return len(s) <= MaxName && componentPattern.MatchString(s) }

// IsRepository reports whether s is a repository's name within its registry: components with a slash between them.
func IsRepository(s string) bool { return len(s) <= MaxName && repositoryPattern.MatchString(s) }

// IsHost reports whether s is a registry's host, with or without a port: a domain name, an IPv4 address, or an IPv6
// address in brackets.
func IsHost(s string) bool { return len(s) <= MaxName && hostPattern.MatchString(s) }

// IsName reports whether s is a repository's name, with or without a host.
func IsName(s string) bool { return len(s) <= MaxName && namePattern.MatchString(s) }

// IsTag reports whether s is a tag.
func IsTag(s string) bool { return tagPattern.MatchString(s) }

// IsDigest reports whether s is a digest by one of the algorithms that the image-spec registers.
//
// Source: OCI image-spec 1.1, descriptor.md, "Registered algorithms".
func IsDigest(s string) bool { return digestPattern.MatchString(s) }
