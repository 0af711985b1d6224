// Package catalog gives names to images: it finds the definitions of a name and tag.
//
// It owns the ordered list of providers (image files, then packages and builds), the kinds of definitions, and the known faults
// of definitions. It must not know manifests, digests of layers, or how images are made.
//
//	c, err := catalog.New(catalog.Config{Store: s, Packages: packages, Images: dirs, …})
//	err = c.Load(ctx)
//	defs, err := c.Lookup(ctx, "hello", "latest") // one definition for each platform
package catalog

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/nixreg/nixreg/internal/lru"
	"github.com/nixreg/nixreg/manifest/draft"
	"github.com/nixreg/nixreg/manifest/packages"
)

// Catalog is the ordered list of providers of names. Image files come first, then packages and builds. Safe for concurrent use.
type Catalog struct {
	images    *images
	builds    *builds
	providers []Provider // asked in this order
	suggester suggester
	log       *slog.Logger
	refused   lru.Cache[string, []string] // keys of configs, by repository
}

// refusedBytes bounds the memory for the images that clients refuse.
const refusedBytes = 1 << 20

// NoteRefused notes for [Catalog.Faults] which keys of the config of a ready-made image clients refuse. No keys is none any more.
func (s *Catalog) NoteRefused(repository string, keys []string) {
	if len(keys) == 0 {
		s.refused.Delete(repository)
		return
	}
	keys = slices.Compact(slices.Sorted(slices.Values(keys)))
	weight := int64(len(repository))
	for _, k := range keys {
		weight += int64(len(k))
	}
	s.refused.Put(repository, keys, weight)
}

// refusals are the lines about images that clients refuse, sorted by repository. Files that are gone have none.
func (s *Catalog) refusals(ctx context.Context) (out []string) {
	s.refused.Each(func(repository string, keys []string) {
		if owned, err := s.images.Owns(ctx, repository); err == nil && owned {
			out = append(out, fmt.Sprintf("%s: clients refuse its %s", repository, strings.Join(keys, ", ")))
		}
	})
	slices.Sort(out)
	return out
}

// New makes a catalog. Load reads the definition files.
func New(cfg Config) (*Catalog, error) {
	reader := &fileReader{env: cfg.Env, places: &imagePlaces{roots: cfg.Images, stores: cfg.StoreDirs}, log: cfg.Log}
	b := newBuilds(reader, cfg)
	r := &resolver{env: cfg.Env, builds: b}
	r.suggester = suggester{providers: []Provider{b}, builds: b, store: cfg.Env.Store}
	m, err := newImages(cfg.Images, reader, r)
	if err != nil {
		return nil, err
	}
	s := &Catalog{images: m, builds: b, providers: []Provider{m, b}, log: cfg.Log}
	s.refused.Max = refusedBytes
	s.suggester = suggester{providers: s.providers, images: m, builds: b, store: cfg.Env.Store}
	return s, nil
}

// Repositories lists the repositories that clients can pull: image files, and packages that have programs.
func (s *Catalog) Repositories(ctx context.Context) ([]string, error) {
	names := make(map[string]string)
	for _, c := range s.providers {
		list, err := c.Repositories(ctx)
		if err != nil {
			return nil, err
		}
		for _, name := range list {
			names[name] = name
		}
	}
	return sortedKeys(names), nil
}

// Lookup returns the definitions of the images of a tag, one for each platform.
func (s *Catalog) Lookup(ctx context.Context, repository, tag string) ([]*draft.Definition, error) {
	c, err := s.Owner(ctx, repository)
	if err != nil {
		return nil, err
	}
	defs, err := c.Lookup(ctx, repository, tag)
	if packages.IsUnknown(err) && err.Error() == packages.UnknownTag(repository, tag).Error() {
		err = s.suggester.unknownTag(ctx, c, repository, tag)
	}
	return defs, err
}

// Provider returns the provider that owns a repository.
func (s *Catalog) Provider(ctx context.Context, repository string) (Provider, error) {
	return owner(ctx, s.providers, repository)
}

// Owner returns the provider that owns a repository. If no provider owns it and none gives a reason, the error suggests a name
// that may have been meant.
func (s *Catalog) Owner(ctx context.Context, repository string) (Provider, error) {
	c, err := owner(ctx, s.providers, repository)
	if packages.IsUnknown(err) && err.Error() == packages.UnknownRepository(repository).Error() {
		err = s.suggester.unknownName(ctx, repository)
	}
	return c, err
}

// State returns a text that stays the same as long as all names mean the same.
func (s *Catalog) State(ctx context.Context) (string, error) {
	var all strings.Builder
	for _, p := range s.providers {
		state, err := p.State(ctx)
		if err != nil {
			return "", err
		}
		all.WriteString(state)
		all.WriteByte('\n')
	}
	return all.String(), nil
}

// Settled reports whether the last answers belong to the present state.
func (s *Catalog) Settled(ctx context.Context) bool {
	for _, p := range s.providers {
		if !p.Settled(ctx) {
			return false
		}
	}
	return true
}
