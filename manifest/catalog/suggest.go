package catalog

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/nixreg/nixreg/internal/oci"
	"github.com/nixreg/nixreg/internal/spell"
	"github.com/nixreg/nixreg/manifest/packages"
	"github.com/nixreg/nixreg/store"
)

const (
	// maxCorrected bounds how many components of one name are corrected.
	maxCorrected = 2
	// maxToldTags bounds how many tags an error about an unknown tag lists.
	maxToldTags = 5
)

// suggester finds the name that a client may have meant by an unknown name. It reveals only names and tags that every client can
// list.
type suggester struct {
	providers []Provider
	images    *images // nil for the contents of a definition, which are packages
	builds    *builds
	store     store.Store
}

// unknownName returns the error about a repository that no provider owns. The error has the name that would work, or the
// component that is missing.
func (s *suggester) unknownName(ctx context.Context, repository string) error {
	text := fmt.Sprintf("no image or package called %s", repository)
	if meant := s.meant(ctx, repository); meant != "" {
		return packages.Unknown(text + ": did you mean " + meant + "?")
	}
	host, _, several := strings.Cut(repository, "/")
	switch {
	case !several && repository != packages.Shell:
	case isRegistryHost(host):
		return packages.Unknown(fmt.Sprintf("%s: nixreg serves images of %s with --mirror %[2]s only", text, mirrorOf(host)))
	default:
		if _, err := s.builds.supplies(ctx, repository, false); packages.IsUnknown(err) {
			return err
		}
	}
	return packages.Unknown(text)
}

// unknownTag returns the error about a tag that a repository does not have. The error lists the highest tags of the repository.
func (s *suggester) unknownTag(ctx context.Context, c Provider, repository, tag string) error {
	unknown := packages.UnknownTag(repository, tag)
	if strings.HasPrefix(tag, "sha256-") { // clients that look for signatures ask often
		return unknown
	}
	tags, err := c.Tags(ctx, repository)
	tags = slices.DeleteFunc(tags, store.IsHash)
	if err != nil || len(tags) == 0 {
		return unknown
	}
	slices.SortStableFunc(tags, newerTag)
	more := ""
	if len(tags) > maxToldTags {
		tags, more = tags[:maxToldTags], " …"
	}
	return packages.Unknown(fmt.Sprintf("%v: it has %s%s", unknown, strings.Join(tags, ", "), more))
}

// meant returns the name that a client may have meant by an unknown name, with a tag if one is needed; "" if no name is near.
func (s *suggester) meant(ctx context.Context, repository string) string {
	for _, name := range otherSpellings(repository) {
		if hash, ok := hashOf(name); ok {
			if _, err := s.store.Find(ctx, hash); err == nil {
				return "store/" + hash
			}
		}
		if found := s.found(ctx, name); found != "" {
			return found
		}
	}
	if strings.Contains(repository, "/") {
		if all := s.corrected(ctx, repository); all != "" {
			return all
		}
	}
	return s.near(ctx, strings.ToLower(repository))
}

// found returns name if an image or package has that name. If name is the full name of a package with its version, found returns
// the package with the version as a tag, or the package alone if it does not have that tag. Otherwise it returns "".
func (s *suggester) found(ctx context.Context, name string) string {
	if name = packages.PulledName(name); !oci.IsRepository(name) {
		return ""
	}
	if _, err := owner(ctx, s.providers, name); err == nil {
		return name
	}
	short, version := packages.SplitName(name)
	if version == "" {
		return ""
	}
	c, err := owner(ctx, s.providers, short)
	if err != nil {
		return ""
	}
	if tags, err := c.Tags(ctx, short); err == nil && slices.Contains(tags, version) {
		return short + ":" + version
	}
	return short
}

// corrected returns a name of several components in which the unknown components are corrected; "" if a component cannot be
// corrected.
func (s *suggester) corrected(ctx context.Context, repository string) string {
	components := strings.Split(repository, "/")
	if len(components) > packages.MaxComponents {
		return ""
	}
	corrections := 0
	for i, c := range components {
		if known, err := s.builds.packages.Known(ctx, c); err != nil || known || i == 0 && c == packages.Shell {
			continue
		}
		if corrections++; corrections > maxCorrected {
			return ""
		}
		if components[i], _, _ = strings.Cut(s.meant(ctx, c), ":"); components[i] == "" {
			return ""
		}
	}
	if name := strings.Join(components, "/"); name != repository {
		if _, err := owner(ctx, s.providers, name); err == nil {
			return name
		}
	}
	return ""
}

// near returns the known name that is most like an unknown name.
func (s *suggester) near(ctx context.Context, name string) string {
	if s.images != nil {
		files, _ := s.images.files(ctx)
		if best := spell.Near(name, slices.Values(slices.Sorted(maps.Keys(files)))); best != "" {
			return best
		}
	}
	return spell.Near(name, s.builds.packages.LoadedNames())
}

// prefixes are prefixes that users write before the name of a package, as they do for Nix or for Docker Hub.
var prefixes = []string{"pkgs.", "nixpkgs.", "nixos.", "legacypackages.x86_64-linux.", "packages.x86_64-linux.", "pkgs/", "nixpkgs/", "library/"}

// otherSpellings returns the names that a client may have meant, judged by the form of the name alone.
func otherSpellings(name string) []string {
	name = strings.Trim(strings.ToLower(name), "/")
	if _, attribute, ok := strings.Cut(name, "#"); ok { // the attribute of a flake
		name = attribute
	}
	if base, ok := strings.CutPrefix(name, strings.TrimPrefix(store.Dir, "/")+"/"); ok {
		name, _, _ = strings.Cut(base, "/")
	}
	all := []string{name}
	for _, p := range prefixes {
		if rest, ok := strings.CutPrefix(name, p); ok {
			all = append(all, rest)
		}
	}
	return all
}

// hashOf returns the hash of a store path, if name looks like the name of a store path or like its hash alone.
func hashOf(name string) (string, bool) {
	hash, _, _ := strings.Cut(name, "-")
	return hash, store.IsHash(hash)
}

// isRegistryHost reports whether the first component of a name looks like the host of a registry, as in docker.io/library/nginx,
// and not like an attribute path.
func isRegistryHost(s string) bool {
	i := strings.LastIndexByte(s, '.')
	return i > 0 && slices.Contains([]string{"app", "aws", "cloud", "com", "dev", "io", "net", "org"}, s[i+1:])
}

// mirrorOf returns the name of the mirror for a host.
func mirrorOf(host string) string {
	if strings.HasSuffix(host, ".docker.io") || strings.HasSuffix(host, ".docker.com") {
		return oci.DockerHub
	}
	return host
}
