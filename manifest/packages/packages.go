// Package packages finds store paths by the names of packages: what a name and its tags stand for in the lists of stores and
// channels, and what several names stand for together.
//
// It owns the spelling of names and tags ([RepositoryName], [TagName]), which of several versions, outputs and architectures
// is meant ([Catalog]), and the errors that tell a name that nobody knows from what is only not there ([IsUnknown]). It knows
// nothing of layers, manifests and HTTP, and builds nothing.
package packages

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

	"github.com/nixreg/nixreg/internal/flight"
	"github.com/nixreg/nixreg/manifest/digests"
	"github.com/nixreg/nixreg/manifest/program"
	"github.com/nixreg/nixreg/store"
)

// Config is what a Catalog needs. All, Group and Cache must be set.
type Config struct {
	// All is all stores, the names of files outside of them included.
	All store.Store
	// Stores and Channels give names, in order of preference: the first that knows a name answers its tags.
	Stores   []store.Store
	Channels []store.Channel
	// Architectures are those, in GOARCH's words, that images are made for; none: all there are.
	Architectures []string
	// Group lists: the caller closes it.
	Group *flight.Group
	// Cache remembers what was seen of paths that lie far away.
	Cache digests.Cache
	// Log may be nil.
	Log *slog.Logger
}

// Catalog is the store paths by package name, by "store/<hash>", and by composites. A name or tag that nobody knows gives an
// error that [IsUnknown] tells; what is known and in no store, one matching [io/fs.ErrNotExist], too; a store or channel out of
// reach, [store.ErrUnavailable]. Safe for concurrent use.
type Catalog struct {
	all   store.Store
	index []*packageIndex // the stores', then the channels'
	kinds *pathKinds
	archs []string // that images are made for; none: all
}

// Image says what an image of packages is made of, for one platform.
type Image struct {
	// Title is the package's name, or those of a composite; Version is a single package's, "" if it has none.
	Title, Version string
	// Contents are linked into the image's root, in order; Program names the one of bin/ that it runs, if it is there.
	Contents []store.Path
	Program  string
}

// New makes a Catalog. Nothing is listed until a name is asked for.
func New(cfg Config) *Catalog {
	log := cmp.Or(cfg.Log, slog.New(slog.DiscardHandler))
	p := &Catalog{all: cfg.All, archs: cfg.Architectures, kinds: newPathKinds(log)}
	add := func(x *packageIndex) {
		x.group, x.key = cfg.Group, fmt.Sprint("index/", len(p.index))
		p.index = append(p.index, x)
	}
	for _, s := range cfg.Stores {
		add(&packageIndex{store: s, distant: store.IsDistant(s)})
	}
	for _, c := range cfg.Channels {
		add(&packageIndex{channel: c, distant: true})
	}
	if len(cfg.Channels) > 0 || store.IsDistant(cfg.All) {
		p.kinds.records = cfg.Cache
	}
	return p
}

// State is that of the stores and the channels.
func (p *Catalog) State(ctx context.Context) (string, error) {
	all, err := p.all.State(ctx)
	for _, x := range p.index {
		if err == nil && x.channel != nil {
			var state string
			if state, err = x.state(ctx); errors.Is(err, store.ErrUnavailable) {
				state, err = store.Unavailable, nil
			}
			all += " " + strconv.Quote(state)
		}
	}
	return all, err
}

// Settled reports whether all names mean what the stores and channels have now: a listing may be older than its store for a
// few seconds, or for as long as that cannot be listed. A store that nobody asked for a name yet does not count.
func (p *Catalog) Settled(ctx context.Context) bool {
	for _, x := range p.index {
		l := x.latest()
		if state, err := x.state(ctx); l.names != nil && (err != nil || state != l.state) {
			return false
		}
	}
	return true
}

// Owns reports whether a repository is one of packages: all components are, or it is a store path's.
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

// Refused is [UnknownRepository] with the reason why a store does not serve what a component of the name stands for; nil if no
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
				return RepositoryName(identify(e).name) == name
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
			unavailable = err // another may know it
		case err != nil || len(n.all) > 0:
			return len(n.all) > 0, err
		}
	}
	return false, unavailable
}

// Lookup returns what a tag stands for, one image for each platform. The repository must be one that the Catalog [Catalog.Owns],
// as for Tags and Newest.
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
	if len(found) == 1 && len(archs) == 0 { // its architecture is found when the image is made
		return []Image{ImageOf(found[0].Path)}, nil
	}
	platforms, err := p.platforms(ctx, found)
	if err == nil {
		err = Restrict(platforms, archs, repository+":"+tag)
	}
	if err != nil {
		return nil, err
	}
	if platforms[program.DefaultArchitecture] != nil {
		delete(platforms, "") // without any program it would be an image for the same platform
	}
	var images []Image
	for _, arch := range slices.Sorted(maps.Keys(platforms)) {
		images = append(images, ImageOf(platforms[arch].Path))
	}
	return images, nil
}

// ImageOf is the image of one path. It depends on the path's name alone: which deriver a store knows differs between
// stores.
func ImageOf(p store.Path) Image {
	name, version := SplitName(p.Name())
	return Image{Title: name, Version: version, Contents: []store.Path{p}, Program: name}
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

// ByArchitecture is Lookup for every architecture, whichever images are made for, as [Catalog.Contents]. It takes any
// repository.
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

// Contents are those of images, by the architecture of their programs: "" without any.
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

// Architecture is that of the first of paths that has programs, "" if none has.
func (p *Catalog) Architecture(ctx context.Context, paths []store.Path) (string, error) {
	for _, path := range paths {
		if arch, err := p.kinds.architecture(ctx, p.all, path); err != nil || arch != "" {
			return arch, err
		}
	}
	return "", nil
}
