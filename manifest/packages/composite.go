package packages

import (
	"context"
	"maps"
	"slices"

	"github.com/nixreg/nixreg/store"
)

// Part holds the paths of a component of a composite by architecture. "" is for all architectures.
type Part map[string][]store.Path

// Part returns the part of a package: its latest version.
func (p *Catalog) Part(ctx context.Context, name string) (Part, error) {
	found, err := p.tagged(ctx, name, Latest)
	if err != nil {
		return nil, err
	}
	best, err := p.platforms(ctx, found)
	if err != nil {
		return nil, err
	}
	out := make(Part, len(best))
	for arch, c := range best {
		out[arch] = []store.Path{c.Path}
	}
	return out, nil
}

// Compose joins parts in their order. It returns an image for each architecture that all parts have. archs, unless it is empty,
// restricts the architectures.
func Compose(title string, parts []Part, archs []string) ([]Image, error) {
	platforms := make(map[string]bool)
	for _, part := range parts {
		for arch := range part {
			platforms[arch] = true
		}
	}
	if len(platforms) > 1 {
		delete(platforms, "") // paths without programs are for all architectures
	}
	if err := Restrict(platforms, archs, title); err != nil {
		return nil, err
	}
	var images []Image
	for _, arch := range slices.Sorted(maps.Keys(platforms)) {
		if contents := join(parts, arch); contents != nil {
			images = append(images, Image{Title: title, Contents: contents})
		}
	}
	if len(images) == 0 {
		return nil, &absentError{title + ": there is no architecture for which all of these packages are in the store"}
	}
	return images, nil
}

// join returns the paths of parts for an architecture. It is nil if a part does not have it.
func join(parts []Part, arch string) []store.Path {
	var contents []store.Path
	for _, part := range parts {
		paths, ok := part[arch]
		if !ok {
			paths, ok = part[""]
		}
		if !ok {
			return nil
		}
		contents = append(contents, paths...)
	}
	return contents
}
