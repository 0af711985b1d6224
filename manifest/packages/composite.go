package packages

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/nixreg/nixreg/store"
)

// composite joins the latest of several packages: in sorted order, so that every order asked for is one image.
func (p *Catalog) composite(ctx context.Context, repository string, components []string, tag string, archs []string) ([]Image, error) {
	if tag != Latest {
		return nil, UnknownTag(repository, tag)
	}
	names := slices.Compact(slices.Sorted(slices.Values(components)))
	parts := make([]Part, len(names))
	for i, name := range names {
		var err error
		if parts[i], err = p.Part(ctx, name); err != nil {
			return nil, err
		}
	}
	if len(names) == 1 { // hello/hello is hello
		return p.lookup(ctx, names[0], tag, archs)
	}
	return Compose(strings.Join(names, "/"), parts, archs)
}

// Part is what a component of a composite brings for each architecture; "" is for all of them.
type Part map[string][]store.Path

// Part returns what a package, as one component of a name, brings: its latest version.
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

// Compose joins parts, in their order, to one image for each architecture that all are there for, of archs if there are any.
func Compose(title string, parts []Part, archs []string) ([]Image, error) {
	platforms := make(map[string]bool)
	for _, part := range parts {
		for arch := range part {
			platforms[arch] = true
		}
	}
	if len(platforms) > 1 {
		delete(platforms, "") // what has no programs goes with every architecture
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

// join is what parts bring for one architecture, nil if one is missing for it.
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
