package packages

import (
	"context"
	"errors"
	"io/fs"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/nixreg/nixreg/store"
)

// Tags returns the tags of a repository. Paths of a near store count if they are directories; paths of distant stores and channels
// all count. Unavailable stores are skipped if another one has tags. The output out has a tag of its own where another output is the
// main one.
func (p *Catalog) Tags(ctx context.Context, repository string) ([]string, error) {
	if strings.Contains(repository, "/") {
		return p.onlyLatest(ctx, repository)
	}
	tags := make(map[string]bool)
	unknown := UnknownRepository(repository)
	for _, x := range p.index {
		all, err := p.named(ctx, x, repository)
		if errors.Is(err, store.ErrUnavailable) {
			unknown = err
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, c := range all {
			tags[Latest], tags[c.Path.Hash()], tags[x.tag()] = true, true, true
			if c.isMain() {
				tags[c.versionTag()] = true
			}
			if c.output != "" || shadowed(c, all) {
				tags[c.outputTag()] = true
			}
		}
	}
	delete(tags, "")
	if len(tags) == 0 {
		return nil, unknown
	}
	return slices.Sorted(maps.Keys(tags)), nil
}

// shadowed reports whether the tag of the version of an output out means another output.
func shadowed(c *candidate, all []*candidate) bool {
	return slices.ContainsFunc(all, func(o *candidate) bool { return o.version == c.version && o.rank() < c.rank() })
}

// named returns the candidates of a name in one index. In a near store it returns only directories.
func (p *Catalog) named(ctx context.Context, x *packageIndex, name string) ([]*candidate, error) {
	n, err := x.named(ctx, name)
	if err != nil || x.distant {
		return n.all, err
	}
	return p.look(ctx, x, n.all)
}

// onlyLatest returns the tags of "store/<hash>" and of a composite.
func (p *Catalog) onlyLatest(ctx context.Context, repository string) ([]string, error) {
	if hash, ok := strings.CutPrefix(repository, "store/"); ok {
		if _, err := p.all.Find(ctx, hash); errors.Is(err, fs.ErrNotExist) {
			return nil, UnknownRepository(repository)
		} else if err != nil {
			return nil, err
		}
	}
	return []string{Latest}, nil
}

// Newest returns latest, the tags of the n best paths of near stores, and the names of channels. The other images of distant
// stores are left out, because all their paths would have to be downloaded.
func (p *Catalog) Newest(ctx context.Context, repository string, n int) ([]string, error) {
	if strings.Contains(repository, "/") {
		return p.onlyLatest(ctx, repository)
	}
	tags := []string{Latest}
	var near []*candidate
	var unavailable error
	for _, x := range p.index {
		all, err := p.named(ctx, x, repository)
		switch {
		case errors.Is(err, store.ErrUnavailable):
			unavailable = err
		case err != nil:
			return nil, err
		case !x.distant:
			near = append(near, all...)
		case len(all) > 0 && x.channel != nil && len(tags) <= n:
			tags = append(tags, x.tag())
		}
	}
	slices.SortStableFunc(near, better) // of all stores
	for _, c := range near[:min(len(near), n)] {
		tags = append(tags, c.Path.Hash())
		for _, t := range []string{c.versionTag(), c.outputTag()} { // the tag of several platforms is an index
			if t != "" && !slices.Contains(tags, t) {
				tags = append(tags, t)
			}
		}
	}
	return tags, unavailable
}

// Repositories returns the packages that have programs. Others can be pulled, too. From distant stores and channels it returns the
// packages with a main output, because their programs are not known. Unavailable stores are left out.
func (p *Catalog) Repositories(ctx context.Context) ([]string, error) {
	names := make(map[string]bool)
	var distant []string
	for _, x := range p.index {
		all, err := x.all(ctx)
		switch {
		case errors.Is(err, store.ErrUnavailable):
			p.kinds.log.Warn("names are left out of the catalogue", "error", err)
			continue
		case err != nil:
			return nil, err
		case x.distant:
			distant = append(distant, all.outs()...)
			continue
		}
		if err := all.each(func(name string, all []*candidate) error { return p.addWithPrograms(ctx, x, names, name, all) }); err != nil {
			return nil, err
		}
	}
	distant = slices.DeleteFunc(distant, Reserved)
	for name := range names {
		distant = append(distant, name)
	}
	slices.Sort(distant)
	return slices.Compact(distant), nil
}

// addWithPrograms adds name to names if one of its candidates has programs.
func (p *Catalog) addWithPrograms(ctx context.Context, x *packageIndex, names map[string]bool, name string, all []*candidate) error {
	if names[name] || Reserved(name) {
		return nil
	}
	for _, c := range all[:min(len(all), maxSame)] {
		k, err := p.kinds.of(ctx, x.store, c.Entry)
		if err != nil {
			return err
		}
		if k.programs {
			names[name] = true
			return nil
		}
	}
	return nil
}

// LoadedNames yields the names of the listings in memory, those of each listing sorted by bytes. It lists nothing.
func (p *Catalog) LoadedNames() iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, x := range p.index {
			names := x.latest().names
			if names == nil {
				continue
			}
			for _, name := range names.sorted() {
				if !yield(name) {
					return
				}
			}
		}
	}
}

// Names returns all names of packages, with programs or without, sorted by bytes. Unavailable stores are left out.
func (p *Catalog) Names(ctx context.Context) ([]string, error) {
	var all []string
	for _, x := range p.index {
		names, err := x.all(ctx)
		switch {
		case errors.Is(err, store.ErrUnavailable):
			p.kinds.log.Warn("names are left out of the list", "error", err)
		case err != nil:
			return nil, err
		default:
			all = append(all, names.sorted()...)
		}
	}
	slices.Sort(all)
	return slices.DeleteFunc(slices.Compact(all), Reserved), nil
}

// NearArchitectures returns the architectures of the latest version of a package in a near store. It downloads nothing.
func (p *Catalog) NearArchitectures(ctx context.Context, name string) ([]string, error) {
	for _, x := range p.index {
		if x.distant {
			continue
		}
		n, err := x.named(ctx, name)
		if err != nil {
			return nil, err
		}
		same, _, err := p.latest(ctx, x, n)
		if err != nil || len(same) == 0 {
			return nil, err
		}
		platforms, err := p.platforms(ctx, same)
		delete(platforms, "")
		return slices.Sorted(maps.Keys(platforms)), err
	}
	return nil, nil
}

// FirstWithPrograms returns the first name of [Catalog.Repositories], or nothing if there is none.
func (p *Catalog) FirstWithPrograms(ctx context.Context) ([]string, error) {
	var firsts []string
	for _, x := range p.index {
		all, err := x.all(ctx)
		if err != nil {
			return firsts, err
		}
		names := all.sorted()
		if x.distant {
			names = all.outs()
		}
		for _, name := range names {
			found := map[string]bool{name: x.distant && !Reserved(name)}
			if !x.distant {
				if err := p.addWithPrograms(ctx, x, found, name, all.named(name).all); err != nil {
					return firsts, err
				}
			}
			if found[name] {
				firsts = append(firsts, name)
				break
			}
		}
	}
	slices.Sort(firsts)
	return firsts[:min(len(firsts), 1)], nil
}
