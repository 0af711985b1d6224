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
	// maxCorrected bounds the components of one name that a correction is looked for.
	maxCorrected = 2
	// maxToldTags bounds the tags that an error about an unknown one lists.
	maxToldTags = 5
)

// suggester finds what an unknown name was meant to be. It tells no more than names and tags that everybody can list.
type suggester struct {
	providers []Provider
	images    *images // nil for the contents of a definition, which are packages
	builds    *builds
	store     store.Store
}

// unknownName is the error about a repository that no catalog owns: with the name that would work, or with the part that is missing.
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

// unknownTag is the error about a tag that a repository does not have: with its highest tags.
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

// meant is the name, with a tag if need be, that an unknown one was meant to be; "" if none is near.
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

// found is name if there is such an image or package, or the package and version that it is the full name of; "" for neither.
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

// corrected is a name of several components with those corrected that are unknown; "" if one of them cannot be.
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

// near is the known name that is nearest to an unknown one.
func (s *suggester) near(ctx context.Context, name string) string {
	if s.images != nil {
		files, _ := s.images.files(ctx)
		if best := spell.Near(name, slices.Values(slices.Sorted(maps.Keys(files)))); best != "" {
			return best
		}
	}
	return spell.Near(name, s.builds.packages.LoadedNames())
}

// prefixes are what people write in front of a package's name where Nix wants it, and where Docker Hub has it.
var prefixes = []string{"pkgs.", "nixpkgs.", "nixos.", "legacypackages.x86_64-linux.", "packages.x86_64-linux.", "pkgs/", "nixpkgs/", "library/"}

// otherSpellings are what a name may have been meant to be, by its form alone.
func otherSpellings(name string) []string {
	name = strings.Trim(strings.ToLower(name), "/")
	if _, attribute, ok := strings.Cut(name, "#"); ok { // a flake's
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

// hashOf is the hash of what looks like the name of a store path, or like its hash alone.
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

// mirrorOf is the name that a mirror of a host has.
func mirrorOf(host string) string {
	if strings.HasSuffix(host, ".docker.io") || strings.HasSuffix(host, ".docker.com") {
		return oci.DockerHub
	}
	return host
}
