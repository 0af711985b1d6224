package manifest

import (
	"context"
	"maps"
	"slices"
	"strings"

	"nixreg/store"
)

// composite joins the latest of several packages: in sorted order, so that every order asked for is one image.
func (p *packages) composite(ctx context.Context, repository string, components []string, tag string, archs []string) ([]*Definition, error) {
	if tag != latestTag {
		return nil, unknownTag(repository, tag)
	}
	names := slices.Compact(slices.Sorted(slices.Values(components)))
	parts := make([]part, len(names))
	for i, name := range names {
		var err error
		if parts[i], err = p.part(ctx, name); err != nil {
			return nil, err
		}
	}
	if len(names) == 1 { // hello/hello is hello
		return p.lookup(ctx, names[0], tag, archs)
	}
	return compose(strings.Join(names, "/"), parts, archs)
}

// part is what a component of a composite brings for each architecture; "" is for all of them.
type part map[string][]store.Path

// part is the latest version of a package.
func (p *packages) part(ctx context.Context, name string) (part, error) {
	found, err := p.tagged(ctx, name, latestTag)
	if err != nil {
		return nil, err
	}
	best, err := p.platforms(ctx, found)
	if err != nil {
		return nil, err
	}
	out := make(part, len(best))
	for arch, c := range best {
		out[arch] = []store.Path{c.Path}
	}
	return out, nil
}

// compose joins parts, in their order, to one image for each architecture that all are there for.
func compose(title string, parts []part, archs []string) ([]*Definition, error) {
	platforms := make(map[string]bool)
	for _, part := range parts {
		for arch := range part {
			platforms[arch] = true
		}
	}
	if len(platforms) > 1 {
		delete(platforms, "") // what has no programs goes with every architecture
	}
	if err := restrict(platforms, archs, title); err != nil {
		return nil, err
	}
	var defs []*Definition
	for _, arch := range slices.Sorted(maps.Keys(platforms)) {
		if contents := join(parts, arch); contents != nil {
			defs = append(defs, &Definition{Title: title, Contents: contents})
		}
	}
	if len(defs) == 0 {
		return nil, &absentError{title + ": there is no architecture for which all of these packages are in the store"}
	}
	return defs, nil
}

// join is what parts bring for one architecture, nil if one is missing for it.
func join(parts []part, arch string) []store.Path {
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
