package oci

import (
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"

	"github.com/nixreg/nixreg/internal/errkind"
)

// Platform is a system that an image is for, in the words of Go: linux, arm64, v8. The zero Platform is unknown.
type Platform struct{ OS, Architecture, Variant string }

// whatever is a part of a wanted platform that does not matter.
const whatever = "*"

// Linux are the wants of [Choose] for Linux on an architecture, of any variant, an image without one first.
func Linux(architecture string) []Platform {
	return Platform{OS: "linux", Architecture: architecture}.OrAnyVariant()
}

// AnySystem is the want of [Choose] for the first image for an architecture, of any variant and for any operating system.
func AnySystem(architecture string) Platform { return Platform{whatever, architecture, whatever} }

// OrAnyVariant is p, and where p has no variant also p with a variant that is not known here, for [Choose].
func (p Platform) OrAnyVariant() []Platform {
	if p.Variant != "" {
		return []Platform{p}
	}
	return []Platform{p, {p.OS, p.Architecture, whatever}}
}

var platformWord = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,31}$`)

// IsPlatformWord reports whether s may be an operating system, an architecture or a variant.
func IsPlatformWord(s string) bool { return platformWord.MatchString(s) }

// ParsePlatform reads OS/ARCH or OS/ARCH/VARIANT. Errors match [fs.ErrInvalid].
func ParsePlatform(s string) (Platform, error) {
	words := strings.Split(s, "/")
	if len(words) < 2 || len(words) > 3 || slices.Contains(words, "") {
		return Platform{}, errkind.Invalid("platform %.100q: want OS/ARCH or OS/ARCH/VARIANT", s)
	}
	words = append(words, "")
	p := Platform{words[0], words[1], words[2]}
	return p, p.Check()
}

// Check returns an error matching [fs.ErrInvalid] for a part that is not a word in lower case.
func (p Platform) Check() error {
	for _, part := range []struct{ name, value, example string }{
		{"operating system", p.OS, "linux"}, {"architecture", p.Architecture, "arm64"}, {"variant", p.Variant, "v8"},
	} {
		if !IsPlatformWord(part.value) && (part.value != "" || part.name != "variant") {
			return errkind.Invalid("%s %.100q: want one word in lower case, such as %s", part.name, part.value, part.example)
		}
	}
	return nil
}

// String is OS/ARCH or OS/ARCH/VARIANT, as docker --platform takes it. A platform that has other characters, or is long,
// comes from outside: it is quoted, and cut.
func (p Platform) String() string {
	s := p.OS + "/" + p.Architecture
	if p.Variant != "" && p.Variant != whatever {
		s += "/" + p.Variant
	}
	if quoted := fmt.Sprintf("%.100q", s); quoted != `"`+s+`"` {
		return quoted
	}
	return s
}

// variants are those of an architecture, from the most capable one to the one that runs everywhere.
var variants = map[string][]string{"arm": {"v8", "v7", "v6", "v5"}, "arm64": {"v8"}}

// acceptable are the variants that do for p, the best one first: without a variant an image without one, then any known
// one; with a variant that one, lesser ones, and none.
//
// Source: github.com/containers/image 5.22, internal/pkg/platform, WantedPlatforms.
func (p Platform) acceptable() []string {
	known := variants[p.Architecture]
	if p.Variant == "" {
		return append([]string{""}, known...)
	}
	if i := slices.Index(known, p.Variant); i >= 0 {
		return append(slices.Clone(known[i:]), "")
	}
	return []string{p.Variant, ""}
}

// Choose returns the first of offers that is for the first of wants, else for the second, and so on. Of several variants that
// do it is the best one; see [Platform.OrAnyVariant] for others. If none does, the error matches [fs.ErrNotExist] and names the offers.
func Choose[T any](offers []T, platform func(T) Platform, wants ...Platform) (T, error) {
	for _, want := range wants {
		for _, variant := range want.acceptable() {
			i := slices.IndexFunc(offers, func(offer T) bool {
				p := platform(offer)
				return p.Architecture == want.Architecture && (p.OS == want.OS || want.OS == whatever) && (p.Variant == variant || variant == whatever)
			})
			if i >= 0 {
				return offers[i], nil
			}
		}
	}
	var none T
	return none, errkind.New(fs.ErrNotExist, "no image for %s, only for %s", wants[0], names(offers, platform))
}

// names are the platforms of offers, for people.
func names[T any](offers []T, platform func(T) Platform) string {
	const most = 20
	var all []string
	for _, offer := range offers {
		p := platform(offer)
		attestation := p == Platform{} || p.OS == "unknown" // builders put these beside the images that they are about
		if s := p.String(); !attestation && !slices.Contains(all, s) && len(all) < most {
			all = append(all, s)
		}
	}
	if len(all) == 0 {
		return "none"
	}
	return strings.Join(all, ", ")
}
