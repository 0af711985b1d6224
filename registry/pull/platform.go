package pull

import (
	"cmp"
	"fmt"
	"io/fs"
	"regexp"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Platform is what an image is for, in Go's words: linux, arm64, v8.
type Platform struct{ OS, Arch, Variant string }

// String is as docker --platform takes it.
func (p Platform) String() string {
	s := p.OS + "/" + p.Arch
	if p.Variant != "" {
		s += "/" + p.Variant
	}
	return s
}

var platformPattern = regexp.MustCompile(`^[a-z0-9][a-z0-9_.-]*$`)

func (p Platform) check() error {
	for _, part := range []struct{ name, value, example string }{
		{"operating system", p.OS, "linux"}, {"architecture", p.Arch, "arm64"}, {"variant", cmp.Or(p.Variant, "any"), "v8"},
	} {
		if !platformPattern.MatchString(part.value) {
			return invalid("%s %.100q: want one word in lower case, such as %s", part.name, part.value, part.example)
		}
	}
	return nil
}

// variants are those of an architecture that has some, from the most capable one to the one that runs everywhere.
func variants(arch string) []string {
	switch arch {
	case "arm":
		return []string{"v8", "v7", "v6", "v5"}
	case "arm64":
		return []string{"v8"}
	}
	return nil
}

// wanted are the platforms that will do, the best one first, as containers/image 5.22 has it: without a variant that
// of an image without one, then any; with one, it, lesser ones, and none.
func (p Platform) wanted() []Platform {
	order := append([]string{""}, variants(p.Arch)...)
	if p.Variant != "" {
		order = []string{p.Variant}
		if all := variants(p.Arch); slices.Contains(all, p.Variant) {
			order = all[slices.Index(all, p.Variant):]
		}
		order = append(order, "")
	}
	platforms := make([]Platform, len(order))
	for i, v := range order {
		platforms[i] = Platform{p.OS, p.Arch, v}
	}
	return platforms
}

// choose returns the image of an index that is for a platform: the first one for the platform that is wanted most. In
// an OCI index, one that does not say what it is for will do if no other does.
func choose(index *v1.IndexManifest, oci bool, p Platform) (v1.Descriptor, error) {
	for _, want := range p.wanted() {
		for _, d := range index.Manifests {
			if d.Platform != nil && platformOf(d) == want {
				return d, nil
			}
		}
	}
	for _, d := range index.Manifests {
		if d.Platform == nil && oci {
			return d, nil
		}
	}
	return v1.Descriptor{}, &kindError{fs.ErrNotExist, fmt.Errorf("no image for %s, only for %s", p, offered(index))}
}

// offered are the platforms of an index, for people.
func offered(index *v1.IndexManifest) string {
	const most = 20
	var all []string
	for _, d := range index.Manifests {
		if d.Platform == nil || d.Platform.OS == "unknown" { // what builders attest of the images beside it
			continue
		}
		if s := fmt.Sprintf("%.100s", platformOf(d)); !slices.Contains(all, s) && len(all) < most {
			all = append(all, s)
		}
	}
	if len(all) == 0 {
		return "none"
	}
	return fmt.Sprintf("%q", all)
}

func platformOf(d v1.Descriptor) Platform {
	return Platform{d.Platform.OS, d.Platform.Architecture, d.Platform.Variant}
}
