package manifest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"

	"nixreg/manifest/digests"
	"nixreg/manifest/imagefile"
	"nixreg/store"
)

const (
	// maxComponents bounds a composite such as git/hello.
	maxComponents = 32
	// latestTag is the tag of the highest version.
	latestTag = "latest"
)

// packages is the catalog of store paths by package name, by "store/<hash>", and of composites.
type packages struct {
	all   store.Store     // all stores, the names of files outside of them included
	index []*packageIndex // the stores', then the channels': the first that knows a name answers its tags
	kinds pathKinds
	root  []imagefile.RootPart // of every image
	archs []string             // that images are made for; none: all
}

func newPackages(all store.Store, cfg Config, group *digests.Group, log *slog.Logger) *packages {
	p := &packages{all: all, kinds: pathKinds{log: log}, archs: cfg.Architectures}
	p.root = slices.Compact(slices.Sorted(slices.Values(cfg.Root)))
	add := func(x *packageIndex) {
		x.group, x.key = group, fmt.Sprint("index/", len(p.index))
		p.index = append(p.index, x)
	}
	for _, s := range cfg.Stores {
		add(&packageIndex{store: s, distant: store.IsDistant(s)})
	}
	for _, c := range cfg.Channels {
		add(&packageIndex{channel: c, distant: true})
	}
	if len(cfg.Channels) > 0 || store.IsDistant(all) {
		p.kinds.records = &records{cfg.Cache}
	}
	return p
}

// State is that of the stores and the channels.
func (p *packages) State(ctx context.Context) (string, error) {
	all, err := p.all.State(ctx)
	for _, x := range p.index {
		if err == nil && x.channel != nil {
			var state string
			if state, err = x.state(ctx); errors.Is(err, store.ErrUnavailable) {
				state, err = "unavailable", nil
			}
			all += " " + strconv.Quote(state)
		}
	}
	return all, err
}

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
	var unavailable error
	for _, x := range p.index {
		n, err := x.named(ctx, name)
		switch {
		case errors.Is(err, store.ErrUnavailable):
			unavailable = err // another may know it
		case err != nil || len(n.all) > 0:
			return len(n.all) > 0, err
		}
	}
	return false, unavailable
}

func (p *packages) Lookup(ctx context.Context, repository, tag string) ([]*Definition, error) {
	defs, err := p.lookup(ctx, repository, tag, p.archs)
	for _, d := range defs {
		d.Root = p.root
	}
	return defs, err
}

func (p *packages) lookup(ctx context.Context, repository, tag string, archs []string) ([]*Definition, error) {
	components := strings.Split(repository, "/")
	switch {
	case components[0] == "store":
		return p.byHash(ctx, repository, components[1], tag)
	case len(components) > 1:
		return p.composite(ctx, repository, components, tag, archs)
	}
	found, err := p.tagged(ctx, repository, tag)
	if err != nil {
		return nil, err
	}
	if len(found) == 1 && len(archs) == 0 { // its architecture is found when the image is made
		return []*Definition{packageImage(found[0].Path)}, nil
	}
	platforms, err := p.platforms(ctx, found)
	if err == nil {
		err = restrict(platforms, archs, repository+":"+tag)
	}
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

// byArchitecture is Lookup for every architecture, by that of the contents' programs: "" without any.
func (p *packages) byArchitecture(ctx context.Context, repository, tag string) (map[string][]store.Path, error) {
	if owned, err := p.Owns(ctx, repository); err != nil || !owned {
		return nil, cmp.Or(err, unknownRepository(repository))
	}
	defs, err := p.lookup(ctx, repository, tag, nil)
	if err != nil {
		return nil, err
	}
	return p.sorted(ctx, defs)
}

// sorted are the contents of definitions by the architecture of their programs.
func (p *packages) sorted(ctx context.Context, defs []*Definition) (map[string][]store.Path, error) {
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
