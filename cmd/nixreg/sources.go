package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/nixreg/nixreg/internal/flight"
	"github.com/nixreg/nixreg/manifest"
	"github.com/nixreg/nixreg/manifest/digests"
	"github.com/nixreg/nixreg/manifest/layer"
	"github.com/nixreg/nixreg/registry"
	"github.com/nixreg/nixreg/store"
)

// parts are what a command is made of, and how to take it apart again.
type parts struct {
	source   *manifest.Source
	cache    digests.Cache
	blobs    *layer.Blobs // nil: none are kept
	stores   []string     // their names, for people
	named    bool         // one of them can say which packages it has
	channels []store.Channel
	local    store.Store // one of the stores: that of this machine's Nix; nil if it is not among them
	builder  manifest.Builder
	builds   string // what is built from, for people; "" if nothing is
	holder   manifest.Holder
	bases    *bases
	mirrors  []registry.Mirror
	closes   []func() error

	storeDirs []string // where the files of the stores lie that are Nix's
}

// names are what is served, for people.
func (p *parts) names() []string {
	all := slices.Clone(p.stores)
	if p.builds != "" {
		all = append(all, "builds of "+p.builds)
	}
	for _, c := range p.channels {
		all = append(all, "the channel "+c.Name())
	}
	for _, m := range p.mirrors {
		all = append(all, "the mirror of "+m.Name)
	}
	return all
}

// noNames is advice for those whose stores have packages by no name.
const noNames = "a cache on a server cannot say which packages it has: --channel " + nixosChannel + " gives them names; a path is store/<hash>"

// nameless reports whether there are stores, and nothing that gives names to what they have.
func (p *parts) nameless() bool {
	return len(p.stores) > 0 && !p.named && len(p.channels) == 0 && p.builds == ""
}

// explain says of an image that is not there why it may have no name.
func (p *parts) explain(repository string, err error) error {
	if errors.Is(err, fs.ErrNotExist) && p.nameless() && !strings.HasPrefix(repository, "store/") {
		return fmt.Errorf("%w: %s", err, noNames)
	}
	return err
}

// close closes the parts, the last one made first.
func (p *parts) close() error {
	var errs []error
	for _, c := range slices.Backward(p.closes) {
		errs = append(errs, c())
	}
	return errors.Join(errs...)
}

// memorySource makes images with digests kept in memory, beside any server.
func memorySource(ctx context.Context, c *config, log *slog.Logger) (*parts, error) {
	cfg, p, err := memoryConfig(ctx, c, log)
	if err != nil {
		return nil, err
	}
	return p, p.openSource(cfg)
}

// servedSource makes images with digests kept in a data directory.
func servedSource(ctx context.Context, c *config, data *dataDir, log *slog.Logger) (_ *parts, err error) {
	in := places{bases: data.bases, channels: data.channels, nars: data.nars, narSize: c.narCache, roots: data.gcroots, keep: c.keep}
	if c.narCache == 0 {
		in.narSize = -1 // nothing is kept
	}
	cfg, made, err := openConfig(ctx, c, in, log, func(p *parts) (_ digests.Cache, err error) {
		if err = p.openBlobs(c, data.blobs, log); err != nil {
			return nil, err
		}
		b, err := digests.OpenBadger(data.digests, log)
		if errors.Is(err, syscall.ENOSPC) { // a full disk is no reason not to serve
			log.Error("digests are kept in memory alone until the next start", "error", err)
			return new(digests.Memory), nil
		}
		if err != nil {
			return nil, err
		}
		p.closes = append(p.closes, b.Close)
		return b, nil
	})
	if err != nil {
		return nil, err
	}
	if err := made.openSource(cfg); err != nil {
		return nil, err
	}
	if len(c.images) > 0 { // or else those of another run
		if err := made.bases.prune(made.source.Bases()); err != nil {
			log.Warn("base images that are not needed are not removed", "error", err)
		}
	}
	if err := made.openMirrors(c, data.mirror, log); err != nil {
		return nil, errors.Join(err, made.close())
	}
	return made, nil
}

// openBlobs opens the cache of compressed layers, if there are to be any.
func (p *parts) openBlobs(c *config, dir string, log *slog.Logger) (err error) {
	if c.blobCache == 0 || c.encoding == layer.Tar {
		return os.RemoveAll(dir) // what an earlier run kept is of no use any more
	}
	if p.blobs, err = layer.OpenBlobs(dir, c.blobCache, log); err != nil {
		return err
	}
	p.closes = append(p.closes, p.blobs.Close)
	return nil
}

// openSource makes the source, or closes what there is.
func (p *parts) openSource(cfg manifest.Config) (err error) {
	if p.source, err = manifest.NewSource(cfg); err != nil {
		return errors.Join(err, p.close())
	}
	p.closes = append(p.closes, p.source.Close)
	return nil
}

// keptNARs is how many bytes of archives from caches are kept where there is no server: enough for a closure that is read
// twice, and no more than most disks have to spare.
const keptNARs = 4 << 30

// memoryConfig is what memorySource makes a source of. What it fetches is gone with it.
func memoryConfig(ctx context.Context, c *config, log *slog.Logger) (manifest.Config, *parts, error) {
	dir, remove, err := openTempDir(os.TempDir())
	if err != nil {
		return manifest.Config{}, nil, err
	}
	in := places{bases: filepath.Join(dir, "bases"), channels: filepath.Join(dir, "channels"), nars: filepath.Join(dir, "nars"), narSize: keptNARs, roots: filepath.Join(dir, "gcroots")}
	cfg, p, err := openConfig(ctx, c, in, log, func(*parts) (digests.Cache, error) { return new(digests.Memory), nil })
	if err != nil {
		return cfg, nil, errors.Join(err, remove())
	}
	p.closes = slices.Insert(p.closes, 0, remove)
	return cfg, p, nil
}

// places are the directories a source works in: for base images that were fetched, for what is known of channels, for
// archives from caches, of which narSize bytes are kept, below 0 none, and for the links by which Nix keeps what is
// served, as long as keep; 0 is until the end.
type places struct {
	bases, channels, nars, roots string
	narSize                      int64
	keep                         time.Duration
}

// openConfig opens what a source is made of.
func openConfig(ctx context.Context, c *config, in places, log *slog.Logger, openCache func(*parts) (digests.Cache, error)) (_ manifest.Config, _ *parts, err error) {
	p := new(parts)
	defer func() {
		if err != nil {
			err = errors.Join(err, p.close())
		}
	}()
	urls, defaulted, err := storeURLs(c, log) // what is wrong with them is said before anything is opened
	if err != nil {
		return manifest.Config{}, nil, err
	}
	if p.cache, err = openCache(p); err != nil {
		return manifest.Config{}, nil, err
	}
	stores, err := p.openStores(ctx, c, urls, in, log)
	if err != nil {
		return manifest.Config{}, nil, err
	}
	if stores, err = p.openBuilds(c, stores, in, log); err != nil {
		return manifest.Config{}, nil, err
	}
	if err := p.openChannels(ctx, c, defaulted, in.channels, log); err != nil {
		return manifest.Config{}, nil, err
	}
	p.bases = &bases{dir: in.bases, mirrors: c.mirrors, group: flight.NewGroup(context.Background()), log: log}
	p.closes = append(p.closes, func() error { p.bases.group.Close(); return nil })
	if err := p.bases.sweep(); err != nil {
		return manifest.Config{}, nil, err
	}
	files, err := p.bases.files()
	if err != nil {
		return manifest.Config{}, nil, err
	}
	return manifest.Config{
		Stores: stores, Channels: p.channels, Architectures: c.archs, Builder: p.builder, Holder: p.holder,
		Images: c.images, StoreDirs: p.storeDirs, Root: c.root, Files: files, Pull: p.bases.pull, Cache: p.cache, Log: log,
		Encoding: c.encoding, Blobs: p.blobs,
	}, p, nil
}
