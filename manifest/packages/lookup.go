package packages

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/nixreg/nixreg/manifest/program"
	"github.com/nixreg/nixreg/store"
)

// Owns reports whether all components of a repository are packages, or it is store/<hash>.
func (p *Catalog) Owns(ctx context.Context, repository string) (bool, error) {
	components := strings.Split(repository, "/")
	if components[0] == storeComponent {
		return len(components) == 2 && store.IsHash(components[1]), nil
	}
	if Reserved(components[0]) || len(components) > MaxComponents {
		return false, nil
	}
	for _, c := range components {
		if found, err := p.Known(ctx, c); err != nil || !found {
			return false, err
		}
	}
	return true, nil
}

// Refused returns [UnknownRepository] with the reason for which a store does not serve the package of a component. It is nil if no
// store has a reason.
func (p *Catalog) Refused(ctx context.Context, repository string) error {
	for name := range strings.SplitSeq(repository, "/") {
		if known, err := p.Known(ctx, name); known || err != nil {
			continue
		}
		for _, x := range p.index {
			s, ok := x.store.(store.Refuser)
			if !ok {
				continue
			}
			err := s.Refused(func(path store.Path) bool {
				e := store.Entry{Path: path}
				return RepositoryName(identify(e, "").name) == name
			})
			if why := reason(err); why != "" {
				return Unknown(fmt.Sprintf("%v: %s", UnknownRepository(repository), why))
			}
		}
	}
	return nil
}

// Known reports whether a single component names a package.
func (p *Catalog) Known(ctx context.Context, name string) (bool, error) {
	var unavailable error
	for _, x := range p.index {
		n, err := x.named(ctx, name)
		switch {
		case errors.Is(err, store.ErrUnavailable):
			unavailable = err // another index may know the name
		case err != nil || len(n.all) > 0:
			return len(n.all) > 0, err
		}
	}
	return false, unavailable
}

// Lookup returns the images of a tag, one for each platform. [Catalog.Owns] must be true for the repository, as for Tags and Newest.
func (p *Catalog) Lookup(ctx context.Context, repository, tag string) ([]Image, error) {
	return p.lookup(ctx, repository, tag, p.archs)
}

func (p *Catalog) lookup(ctx context.Context, repository, tag string, archs []string) ([]Image, error) {
	components := strings.Split(repository, "/")
	switch {
	case components[0] == storeComponent:
		return p.byHash(ctx, repository, components[1], tag)
	case len(components) > 1:
		return p.composite(ctx, repository, components, tag, archs)
	}
	found, err := p.tagged(ctx, repository, tag)
	if err != nil {
		return nil, err
	}
	if len(found) == 1 && len(archs) == 0 { // the architecture is looked up when the image is made
		return []Image{p.imageOf(ctx, found[0])}, nil
	}
	platforms, err := p.platforms(ctx, found)
	if err == nil {
		err = Restrict(platforms, archs, repository+":"+tag)
	}
	if err != nil {
		return nil, err
	}
	if platforms[program.DefaultArchitecture] != nil {
		delete(platforms, "") // without a program it would be an image for the same platform
	}
	var images []Image
	for _, arch := range slices.Sorted(maps.Keys(platforms)) {
		images = append(images, p.imageOf(ctx, platforms[arch]))
	}
	return images, nil
}

// ImageOf returns the image of one path. It depends on the name of the path alone, because stores know different derivers.
func ImageOf(p store.Path) Image {
	name, version := SplitName(p.Name())
	return Image{Title: name, Version: version, Contents: []store.Path{p}, Program: name}
}

// imageOf returns the image of a candidate.
func (p *Catalog) imageOf(ctx context.Context, c *candidate) Image {
	m := ImageOf(c.Path)
	m.MainProgram = cmp.Or(c.program, p.tellings.of(ctx, c.Deriver).Program)
	return m
}

func (p *Catalog) byHash(ctx context.Context, repository, hash, tag string) ([]Image, error) {
	if tag != Latest {
		return nil, UnknownTag(repository, tag)
	}
	path, err := p.all.Find(ctx, hash)
	if err != nil {
		return nil, err
	}
	return []Image{ImageOf(path)}, nil
}

// ByArchitecture returns the contents of a tag for all architectures, also those that no images are made for. repository may be
// unknown.
func (p *Catalog) ByArchitecture(ctx context.Context, repository, tag string) (map[string][]store.Path, error) {
	if owned, err := p.Owns(ctx, repository); err != nil || !owned {
		return nil, cmp.Or(err, p.Refused(ctx, repository), UnknownRepository(repository))
	}
	images, err := p.lookup(ctx, repository, tag, nil)
	if err != nil {
		return nil, err
	}
	return p.Contents(ctx, images)
}

// Contents returns the contents of images by the architecture of their programs. It is "" without programs.
func (p *Catalog) Contents(ctx context.Context, images []Image) (map[string][]store.Path, error) {
	found := make(map[string][]store.Path)
	for _, m := range images {
		arch, err := p.Architecture(ctx, m.Contents)
		if err != nil {
			return nil, err
		}
		found[arch] = m.Contents
	}
	return found, nil
}

// Architecture returns the architecture of the first path that has programs, or "".
func (p *Catalog) Architecture(ctx context.Context, paths []store.Path) (string, error) {
	for _, path := range paths {
		if arch, err := p.kinds.architecture(ctx, p.all, path); err != nil || arch != "" {
			return arch, err
		}
	}
	return "", nil
}

// composite joins the latest versions of several packages. It sorts them, so that all orders of the names are one image.
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
