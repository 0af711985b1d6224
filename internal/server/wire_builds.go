package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"

	"github.com/nixreg/nixreg/internal/lru"
	"github.com/nixreg/nixreg/manifest/catalog"
	"github.com/nixreg/nixreg/manifest/packages"
	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/local"
	"github.com/nixreg/nixreg/store/realise"
)

// builds is the flake or file that packages are built from, for logs; "" if there is none.
func (c *Config) builds() string {
	if c.BuildFile != "" {
		return c.BuildFile
	}
	return shown(c.Build)
}

// openBuilds opens the builder and the GC roots of the local store, if that is among stores. With a builder, the returned
// stores have a local store that builds deleted paths again.
func (p *parts) openBuilds(c *Config, stores []store.Store, in folders, log *slog.Logger) ([]store.Store, error) {
	at := slices.IndexFunc(stores, func(s store.Store) bool { return p.local != nil && s == p.local })
	if c.builds() != "" && at < 0 {
		return nil, fmt.Errorf("build %.200s: Nix builds into this machine's own store, and %s", c.builds(), whyNoLocal())
	}
	if at < 0 {
		return stores, nil // GC roots are for the local store only
	}
	all := slices.Clone(stores)
	if c.builds() != "" {
		b, err := realise.New(realise.Options{
			Installable: c.Build, File: c.BuildFile, Spell: packages.RepositoryName,
			Timeout: c.BuildTimeout, Jobs: c.BuildJobs, Memory: c.BuildMemory, Log: log,
		})
		if err != nil {
			return nil, err
		}
		p.closes = append(p.closes, b.Close)
		again := realise.NewStore(p.local, b, p.cache)
		p.builder, p.builds = &builder{builder: b, built: again, log: log, noted: lru.Cache[string, string]{Max: notedBytes}}, c.builds()
		all[at] = again
	}
	return all, p.openRoots(c, all, in, log)
}

func whyNoLocal() string {
	if local.Exists() {
		return "that is not among the stores: add --store local"
	}
	return "there is none"
}

// openRoots opens the GC roots. A server removes old ones regularly; a command removes its own at the end.
func (p *parts) openRoots(c *Config, all []store.Store, in folders, log *slog.Logger) error {
	if c.Keep == 0 {
		log = slog.New(slog.DiscardHandler) // a command needs no warning that roots fail
	}
	r, err := realise.NewRoots(realise.RootsOptions{Dir: in.gcroots, Keep: c.Keep, Log: log})
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	var sweeping sync.WaitGroup
	if c.Keep > 0 {
		sweeping.Go(func() { r.Run(ctx) })
	}
	joint := store.Union(all...)
	p.closes = append(p.closes, joint.Close, func() error {
		stop()
		sweeping.Wait()
		return r.Close()
	})
	p.holder = realise.NewHolder(r, p.local, joint)
	return nil
}

// builder adapts a realise.Builder to manifest.Builder: neither package imports the other.
type builder struct {
	builder *realise.Builder
	built   *realise.Store
	log     *slog.Logger

	noted lru.Cache[string, string] // the paths by attribute and system of which it is recorded how they are built again
}

var _ catalog.Builder = (*builder)(nil)

func (b *builder) Find(ctx context.Context, name string) (string, error) {
	attr, err := b.builder.Find(ctx, name, "")
	return string(attr), err
}

func (b *builder) Build(ctx context.Context, attr, arch string) (packages.Built, error) {
	a, err := realise.ParseAttr(attr)
	if err != nil {
		return packages.Built{}, err
	}
	system := realise.Host()
	if arch != "" {
		system = realise.System(arch)
	}
	if system == "" {
		return packages.Built{}, fmt.Errorf("build %s for %.100q: Nix has no such system: %w", a, arch, errors.ErrUnsupported)
	}
	r, err := b.builder.Build(ctx, a, system)
	if err != nil {
		return packages.Built{}, err
	}
	if err := b.note(ctx, a, system, r.Outputs); err != nil && ctx.Err() == nil {
		b.log.Warn("what was built is not built again if it goes", "attribute", attr, "error", err)
	}
	return packages.Built(r), nil
}

func (b *builder) Ref() string { return b.builder.Ref() }

// notedBytes bounds the attributes that are remembered as noted; beyond that some are noted twice.
const notedBytes = 1 << 20

// note records, once for each build, how its closure can be built again.
func (b *builder) note(ctx context.Context, attr realise.Attr, system string, paths []store.Path) error {
	key, value := string(attr)+" "+system, fmt.Sprint(paths)
	if noted, ok := b.noted.Get(key); ok && noted == value {
		return nil
	}
	objects, err := store.Closure(ctx, b.built.Store, paths...)
	if err != nil {
		return err
	}
	if err := b.built.Remember(ctx, attr, system, paths, objects); err != nil {
		return err
	}
	b.noted.Put(key, value, int64(len(key)+len(value)))
	return nil
}
