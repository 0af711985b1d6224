package server

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"slices"
	"syscall"

	"github.com/nixreg/nixreg/manifest"
	"github.com/nixreg/nixreg/manifest/digests"
	"github.com/nixreg/nixreg/manifest/layer"
	"github.com/nixreg/nixreg/registry/pull"
	"github.com/nixreg/nixreg/registry/pull/bases"
)

// keptNARs is the size of the NAR cache without a data directory, in bytes. It is enough to read a closure twice, and fits on
// most disks.
const keptNARs = 4 << 30

// openSettings opens what a source is made of: stores, builds, channels, records and folders. The caller closes the parts.
func openSettings(ctx context.Context, c *Config, log *slog.Logger) (_ *parts, _ manifest.Config, err error) {
	p := new(parts)
	defer func() {
		if err != nil {
			err = errors.Join(err, p.close())
		}
	}()
	in, err := p.openFolders(c, log)
	if err != nil {
		return nil, manifest.Config{}, err
	}
	urls, defaulted, err := storeURLs(c, log) // a wrong URL is an error before anything else is opened
	if err != nil {
		return nil, manifest.Config{}, err
	}
	if err := p.openCaches(c, in, log); err != nil {
		return nil, manifest.Config{}, err
	}
	stores, err := p.openStores(ctx, c, urls, in, log)
	if err != nil {
		return nil, manifest.Config{}, err
	}
	if stores, err = p.openBuilds(c, stores, in, log); err != nil {
		return nil, manifest.Config{}, err
	}
	if err := p.openChannels(ctx, c, defaulted, in.channels, log); err != nil {
		return nil, manifest.Config{}, err
	}
	if err := p.openBases(c, in.bases, log); err != nil {
		return nil, manifest.Config{}, err
	}
	files, err := bases.Kept(in.bases)
	if err != nil {
		return nil, manifest.Config{}, err
	}
	return p, manifest.Config{
		Stores: stores, Channels: p.channels, Architectures: c.Architectures, Builder: p.builder, Holder: p.holder,
		Images: c.Images, StoreDirs: p.storeDirs, Root: c.Root, Layering: c.Layering, Files: files, Pull: p.bases.Pull, Cache: p.cache, Log: log,
		Encoding: c.Encoding, Blobs: p.blobs,
	}, nil
}

// openFolders locks the data directory, or makes a temporary one and changes the settings that depend on it.
func (p *parts) openFolders(c *Config, log *slog.Logger) (folders, error) {
	if c.Data == "" {
		dir, remove, err := openTempDir(os.TempDir())
		if err != nil {
			return folders{}, err
		}
		p.closes = append(p.closes, remove)
		c.NARCache, c.Keep = keptNARs, 0
		return foldersIn(dir), nil
	}
	data, err := openDataDir(c.Data, log)
	if err != nil {
		return folders{}, err
	}
	p.closes = append(p.closes, data.close)
	if c.NARCache == 0 {
		c.NARCache = -1 // nothing is kept
	}
	return data.folders, nil
}

// openCaches opens the records, and the cache of compressed layers.
func (p *parts) openCaches(c *Config, in folders, log *slog.Logger) error {
	if c.Data == "" {
		p.cache = new(digests.Memory)
		return nil
	}
	if err := p.openBlobs(c, in.blobs, log); err != nil {
		return err
	}
	b, err := digests.OpenBadger(in.digests, log)
	if errors.Is(err, syscall.ENOSPC) { // a full disk is no reason not to serve
		log.Error("digests are kept in memory alone until the next start", "error", err)
		p.cache = new(digests.Memory)
		return nil
	}
	if err != nil {
		return err
	}
	p.closes = append(p.closes, b.Close)
	p.cache = b
	return nil
}

// openBlobs opens the cache of compressed layers, if layers are compressed.
func (p *parts) openBlobs(c *Config, dir string, log *slog.Logger) (err error) {
	if c.BlobCache == 0 || c.Encoding == layer.Tar {
		return os.RemoveAll(dir) // layers of an earlier run are not used any more
	}
	if p.blobs, err = layer.OpenBlobs(dir, c.BlobCache, log); err != nil {
		return err
	}
	p.closes = append(p.closes, p.blobs.Close)
	return nil
}

// openSource makes the source. If that fails, it closes the parts.
func (p *parts) openSource(cfg manifest.Config) (err error) {
	if p.source, err = manifest.NewSource(cfg); err != nil {
		return errors.Join(err, p.close())
	}
	p.closes = append(p.closes, p.source.Close)
	return nil
}

// openBases opens the cache of base images that definitions name.
func (p *parts) openBases(c *Config, dir string, log *slog.Logger) (err error) {
	p.bases, err = bases.Open(bases.Options{Dir: dir, Log: log, Upstream: func(host string) (pull.Upstream, error) {
		m := Mirror{Name: host}
		if i := slices.IndexFunc(c.Mirrors, func(m Mirror) bool { return m.Name == host }); i >= 0 {
			m = c.Mirrors[i]
		}
		up, err := m.open(log)
		return pulledFrom{up}, err
	}})
	if err == nil {
		p.closes = append(p.closes, p.bases.Close)
	}
	return err
}
