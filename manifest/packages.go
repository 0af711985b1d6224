package manifest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"slices"
	"strings"

	"nixreg/manifest/digests"
	"nixreg/manifest/imagefile"
	"nixreg/store"
)

const (
	// maxComponents bounds a composite such as git/hello.
	maxComponents = 32
	// maxSame bounds how many paths of one name and version are looked at for their architectures.
	maxSame = 32
	// latestTag is the tag of the highest version.
	latestTag = "latest"
)

// packages is the catalog of store paths by package name, by "store/<hash>", and of composites.
type packages struct {
	stores []store.Store // in order: the first that knows a name answers its tags
	all    store.Store   // all of them
	index  []*packageIndex
	kinds  pathKinds
	root   []imagefile.RootPart // of every image
}

func newPackages(all store.Store, stores []store.Store, root []imagefile.RootPart, group *digests.Group, log *slog.Logger) *packages {
	p := &packages{stores: stores, all: all, kinds: pathKinds{log: log}, root: root}
	for i, s := range stores {
		p.index = append(p.index, &packageIndex{store: s, group: group, key: fmt.Sprint("index/", i)})
	}
	return p
}

func (p *packages) State(ctx context.Context) (string, error) { return p.all.State(ctx) }

func (p *packages) Owns(ctx context.Context, repository string) (bool, error) {
	components := strings.Split(repository, "/")
	if components[0] == "store" {
		return len(components) == 2 && store.IsHash(components[1]), nil
	}
	if reserved[components[0]] || len(components) > maxComponents {
		return false, nil
	}
	for _, c := range components {
		if found, err := p.known(ctx, c); err != nil || !found {
			return false, err
		}
	}
	return true, nil
}

func (p *packages) known(ctx context.Context, name string) (bool, error) {
	for _, x := range p.index {
		c, err := x.named(ctx, name)
		if err != nil || len(c) > 0 {
			return len(c) > 0, err
		}
	}
	return false, nil
}

func (p *packages) Lookup(ctx context.Context, repository, tag string) ([]*Definition, error) {
	defs, err := p.lookup(ctx, repository, tag)
	for _, d := range defs {
		d.Root = p.root
	}
	return defs, err
}

func (p *packages) lookup(ctx context.Context, repository, tag string) ([]*Definition, error) {
	components := strings.Split(repository, "/")
	switch {
	case components[0] == "store":
		return p.byHash(ctx, repository, components[1], tag)
	case len(components) > 1:
		return p.composite(ctx, repository, components, tag)
	}
	found, err := p.tagged(ctx, repository, tag)
	if err != nil {
		return nil, err
	}
	if len(found) == 1 { // its architecture is found when the image is made
		return []*Definition{packageImage(found[0].Path)}, nil
	}
	platforms, err := p.platforms(ctx, found)
	if err != nil {
		return nil, err
	}
	if platforms[defaultArchitecture] != nil {
		delete(platforms, "") // without any program it would be an image for the same platform
	}
	var defs []*Definition
	for _, arch := range slices.Sorted(maps.Keys(platforms)) {
		defs = append(defs, packageImage(platforms[arch].Path))
	}
	return defs, nil
}

// packageImage defines the image of one path. It depends on the path's name alone: which deriver a store knows differs
// between stores.
func packageImage(p store.Path) *Definition {
	name, version := splitName(p.Name())
	return &Definition{Title: name, Version: version, Contents: []store.Path{p}, Program: name}
}

func (p *packages) byHash(ctx context.Context, repository, hash, tag string) ([]*Definition, error) {
	if tag != latestTag {
		return nil, unknownTag(repository, tag)
	}
	path, err := p.all.Find(ctx, hash)
	if err != nil {
		return nil, err
	}
	return []*Definition{packageImage(path)}, nil
}

// byArchitecture is Lookup, by the architecture of the contents' programs: "" without any.
func (p *packages) byArchitecture(ctx context.Context, repository, tag string) (map[string][]store.Path, error) {
	if owned, err := p.Owns(ctx, repository); err != nil || !owned {
		return nil, cmp.Or(err, unknownRepository(repository))
	}
	defs, err := p.lookup(ctx, repository, tag)
	if err != nil {
		return nil, err
	}
	found := make(map[string][]store.Path)
	for _, d := range defs {
		arch, err := p.architecture(ctx, d.Contents)
		if err != nil {
			return nil, err
		}
		found[arch] = d.Contents
	}
	return found, nil
}

// architecture is that of the first of paths that has programs, "" if none has.
func (p *packages) architecture(ctx context.Context, paths []store.Path) (string, error) {
	for _, path := range paths {
		if arch, err := p.kinds.architecture(ctx, p.all, path); err != nil || arch != "" {
			return arch, err
		}
	}
	return "", nil
}

// composite joins the latest of several packages: in sorted order, so that every order asked for is one image.
func (p *packages) composite(ctx context.Context, repository string, components []string, tag string) ([]*Definition, error) {
	if tag != latestTag {
		return nil, unknownTag(repository, tag)
	}
	names := slices.Compact(slices.Sorted(slices.Values(components)))
	parts := make([]map[string]*candidate, len(names))
	for i, name := range names {
		found, err := p.tagged(ctx, name, latestTag)
		if err != nil {
			return nil, err
		}
		if parts[i], err = p.platforms(ctx, found); err != nil {
			return nil, err
		}
	}
	if len(names) == 1 { // hello/hello is hello
		return p.lookup(ctx, names[0], tag)
	}
	archs := make(map[string]bool)
	for _, part := range parts {
		for arch := range part {
			archs[arch] = true
		}
	}
	if len(archs) > 1 {
		delete(archs, "") // what has no programs goes with every architecture
	}
	var defs []*Definition
	for _, arch := range slices.Sorted(maps.Keys(archs)) {
		if d := join(names, parts, arch); d != nil {
			defs = append(defs, d)
		}
	}
	if len(defs) == 0 {
		return nil, &absentError{repository + ": there is no architecture for which all of these packages are in the store"}
	}
	return defs, nil
}

// join is the composite for one architecture, nil if a part is missing for it.
func join(names []string, parts []map[string]*candidate, arch string) *Definition {
	d := &Definition{Title: strings.Join(names, "/")}
	for _, part := range parts {
		c := cmp.Or(part[arch], part[""])
		if c == nil {
			return nil
		}
		d.Contents = append(d.Contents, c.Path)
	}
	return d
}

// tagged returns the paths a tag of a package stands for, best first. All have the same version.
func (p *packages) tagged(ctx context.Context, name, tag string) ([]*candidate, error) {
	for i, x := range p.index {
		all, err := x.named(ctx, name)
		if err != nil {
			return nil, err
		}
		found, err := p.pick(ctx, p.stores[i], all, tag)
		if err != nil || len(found) > 0 {
			return found, err
		}
	}
	return nil, unknownTag(name, tag)
}

// pick chooses the candidates of a tag; they are sorted as better sorts them.
func (p *packages) pick(ctx context.Context, s store.Store, all []*candidate, tag string) ([]*candidate, error) {
	if store.IsHash(tag) {
		for _, c := range all {
			if c.Path.Hash() == tag {
				return p.kinds.directories(ctx, s, []*candidate{c})
			}
		}
	}
	if tag != latestTag {
		var same []*candidate
		for _, c := range all {
			if c.tag() == tag {
				same = append(same, c)
			}
		}
		return p.kinds.directories(ctx, s, same)
	}
	dirs, err := p.kinds.directories(ctx, s, all)
	if err != nil || len(dirs) == 0 {
		return nil, err
	}
	best := dirs[0] // an out, if there is one
	var same []*candidate
	for _, c := range dirs {
		if c.output == best.output && compareVersions(c.version, best.version) == 0 {
			same = append(same, c)
		}
	}
	return same, nil
}

// platforms returns the best candidate of each architecture, "" for those without programs.
func (p *packages) platforms(ctx context.Context, found []*candidate) (map[string]*candidate, error) {
	best := make(map[string]*candidate)
	var failed error
	for _, c := range found[:min(len(found), maxSame)] {
		arch, err := p.kinds.architecture(ctx, p.all, c.Path)
		if err != nil {
			if !userError(err) {
				return nil, err
			}
			failed = err
			continue
		}
		if best[arch] == nil {
			best[arch] = c
		}
	}
	if len(best) == 0 {
		return nil, failed
	}
	return best, nil
}

func (p *packages) Tags(ctx context.Context, repository string) ([]string, error) {
	if strings.Contains(repository, "/") {
		return p.onlyLatest(ctx, repository)
	}
	all, err := p.directories(ctx, repository)
	if err != nil {
		return nil, err
	}
	tags := make(map[string]bool)
	for _, c := range all {
		tags[latestTag] = true
		tags[c.Path.Hash()] = true
		if t := c.tag(); t != "" {
			tags[t] = true
		}
	}
	if len(tags) == 0 {
		return nil, unknownRepository(repository)
	}
	return slices.Sorted(maps.Keys(tags)), nil
}

// onlyLatest is the list of tags of "store/<hash>" and of a composite.
func (p *packages) onlyLatest(ctx context.Context, repository string) ([]string, error) {
	if hash, ok := strings.CutPrefix(repository, "store/"); ok {
		if _, err := p.all.Find(ctx, hash); errors.Is(err, fs.ErrNotExist) {
			return nil, unknownRepository(repository)
		} else if err != nil {
			return nil, err
		}
	}
	return []string{latestTag}, nil
}

func (p *packages) Newest(ctx context.Context, repository string, n int) ([]string, error) {
	if strings.Contains(repository, "/") {
		return p.onlyLatest(ctx, repository)
	}
	all, err := p.directories(ctx, repository)
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(all, better) // of all stores
	tags := []string{latestTag}
	for _, c := range all[:min(len(all), n)] {
		tags = append(tags, c.Path.Hash())
		if t := c.tag(); t != "" && !slices.Contains(tags, t) {
			tags = append(tags, t) // where it stands for several platforms, it is an index
		}
	}
	return tags, nil
}

// directories returns what a package's name stands for in all stores, those of one store best first.
func (p *packages) directories(ctx context.Context, name string) ([]*candidate, error) {
	var out []*candidate
	for i, x := range p.index {
		all, err := x.named(ctx, name)
		if err != nil {
			return nil, err
		}
		dirs, err := p.kinds.directories(ctx, p.stores[i], all)
		if err != nil {
			return nil, err
		}
		out = append(out, dirs...)
	}
	return out, nil
}

// Repositories lists packages that have programs: the others can be pulled too, but few want to.
func (p *packages) Repositories(ctx context.Context) ([]string, error) {
	names := make(map[string]bool)
	for i, x := range p.index {
		all, err := x.all(ctx)
		if err != nil {
			return nil, err
		}
		for name, candidates := range all {
			if names[name] || reserved[name] {
				continue
			}
			for _, c := range candidates[:min(len(candidates), maxSame)] {
				k, err := p.kinds.of(ctx, p.stores[i], c.Entry)
				if err != nil {
					return nil, err
				}
				if k.programs {
					names[name] = true
					break
				}
			}
		}
	}
	return slices.Sorted(maps.Keys(names)), nil
}
