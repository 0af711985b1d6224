package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/dustin/go-humanize"
	"github.com/google/go-containerregistry/pkg/authn"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"nixreg/manifest"
	"nixreg/manifest/digests"
	"nixreg/manifest/layer"
	"nixreg/registry"
	"nixreg/registry/mirror"
	"nixreg/registry/mirror/blobs"
	"nixreg/registry/upstream"
	"nixreg/store"
	"nixreg/store/binarycache"
	"nixreg/store/demo"
	"nixreg/store/local"
)

// encodings are the values of --layer-encoding. A better compressor will be another name beside them.
var encodings = map[string]layer.Encoding{"tar": layer.Tar, "gzip": layer.Gzip, "zstd": layer.Zstd}

// parts are what a command is made of, and how to take it apart again.
type parts struct {
	source  *manifest.Source
	cache   digests.Cache
	blobs   *layer.Blobs // nil: none are kept
	stores  []string     // their names, for people
	bases   *bases
	mirrors []registry.Mirror
	closes  []func() error
}

// names are what is served, for people.
func (p *parts) names() []string {
	all := slices.Clone(p.stores)
	for _, m := range p.mirrors {
		all = append(all, "the mirror of "+m.Name)
	}
	return all
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
func memorySource(c *config, log *slog.Logger) (*parts, error) {
	cfg, p, err := memoryConfig(c, log)
	if err != nil {
		return nil, err
	}
	return p, p.openSource(cfg)
}

// nearDigests is how many bytes of records are kept in memory in front of those on disk.
const nearDigests = 16 << 20

// servedSource makes images with digests kept in a data directory.
func servedSource(c *config, data *dataDir, log *slog.Logger) (_ *parts, err error) {
	cfg, made, err := openConfig(c, places{data.spool, data.bases}, log, func(p *parts) (_ digests.Cache, err error) {
		if p.blobs, err = openBlobs(c, data.blobs); err != nil {
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
		return &digests.Tiered{Near: digests.NewMemory(nearDigests), Far: b, Log: log}, nil
	})
	if err != nil {
		return nil, err
	}
	if err := made.openSource(cfg); err != nil {
		return nil, err
	}
	if err := made.bases.prune(made.source.Bases()); err != nil {
		log.Warn("base images that are not needed are not removed", "error", err)
	}
	if err := made.openMirrors(c, data.mirror, log); err != nil {
		return nil, errors.Join(err, made.close())
	}
	return made, nil
}

// openMirrors opens what --mirror names, and the cache that all of them share.
func (p *parts) openMirrors(c *config, dir string, log *slog.Logger) error {
	if _, err := os.Stat(dir); len(c.mirrors) == 0 && err != nil {
		return nil // and what was mirrored before stays for when it is again, but for what is half written
	}
	size, err := humanize.ParseBytes(c.mirrorCache)
	if err != nil {
		return err
	}
	cache, err := blobs.Open(blobs.Options{Dir: dir, Max: int64(min(size, math.MaxInt64)), Log: log})
	if err != nil {
		return fmt.Errorf("mirror cache: %w", err)
	}
	p.closes = append(p.closes, cache.Close)
	for _, mc := range c.mirrors {
		up, err := mc.open(log)
		if err != nil {
			return err
		}
		m, err := mirror.New(mirror.Config{
			Upstream: up, Blobs: cache, Records: p.cache, TTL: mc.ttl, Allow: mc.allow, Deny: mc.deny, Log: log,
		})
		if err != nil {
			return err
		}
		p.closes = append(p.closes, m.Close)
		p.mirrors = append(p.mirrors, registry.Mirror{Name: mc.name, Hosts: mc.hosts(), Source: m, Lister: m, Referrers: m})
	}
	return nil
}

// open makes the wire to the registry.
func (m mirrorConfig) open(log *slog.Logger) (*upstream.Registry, error) {
	keys, err := m.keychain()
	if err != nil {
		return nil, err
	}
	up, err := upstream.New(upstream.Options{Name: m.name, URL: m.url, Keychain: keys, SkipVerify: m.skipVerify, Log: log})
	if err != nil {
		return nil, fmt.Errorf("mirror %s: %w", m.name, err)
	}
	return up, nil
}

// keychain has the registry's credentials: those of the configuration file, or Docker's.
func (m mirrorConfig) keychain() (authn.Keychain, error) {
	if m.username == "" && m.passwordFile == "" {
		return authn.DefaultKeychain, nil
	}
	password, err := os.ReadFile(m.passwordFile)
	if err != nil {
		return nil, fmt.Errorf("mirror %s: password-file: %w", m.name, err)
	}
	return login{authn.FromConfig(authn.AuthConfig{Username: m.username, Password: strings.TrimRight(string(password), "\r\n")})}, nil
}

// login is a keychain of one registry alone.
type login struct{ authn.Authenticator }

func (l login) Resolve(authn.Resource) (authn.Authenticator, error) { return l.Authenticator, nil }

// openBlobs opens the cache of compressed layers, if there are to be any.
func openBlobs(c *config, dir string) (*layer.Blobs, error) {
	size, err := humanize.ParseBytes(c.blobCache)
	if err != nil {
		return nil, err
	}
	if size == 0 || encodings[c.encoding] == layer.Tar {
		return nil, os.RemoveAll(dir) // what an earlier run kept is of no use any more
	}
	return layer.OpenBlobs(dir, int64(min(size, math.MaxInt64)))
}

// openSource makes the source, or closes what there is.
func (p *parts) openSource(cfg manifest.Config) (err error) {
	if p.source, err = manifest.NewSource(cfg); err != nil {
		return errors.Join(err, p.close())
	}
	p.closes = append(p.closes, p.source.Close)
	return nil
}

// memoryConfig is what memorySource makes a source of. Base images that it fetches are gone with it.
func memoryConfig(c *config, log *slog.Logger) (manifest.Config, *parts, error) {
	dir, err := os.MkdirTemp("", "nixreg-")
	if err != nil {
		return manifest.Config{}, nil, err
	}
	cfg, p, err := openConfig(c, places{os.TempDir(), dir}, log, func(*parts) (digests.Cache, error) { return new(digests.Memory), nil })
	if err != nil {
		return cfg, nil, errors.Join(err, os.RemoveAll(dir))
	}
	p.closes = slices.Insert(p.closes, 0, func() error { return os.RemoveAll(dir) })
	return cfg, p, nil
}

// places are the directories a source works in: for archives that are unpacked, and for base images that were fetched.
type places struct{ spool, bases string }

// openConfig opens what a source is made of.
func openConfig(c *config, in places, log *slog.Logger, openCache func(*parts) (digests.Cache, error)) (_ manifest.Config, _ *parts, err error) {
	p := new(parts)
	defer func() {
		if err != nil {
			err = errors.Join(err, p.close())
		}
	}()
	stores, err := p.openStores(c, in.spool, log)
	if err != nil {
		return manifest.Config{}, nil, err
	}
	if p.cache, err = openCache(p); err != nil {
		return manifest.Config{}, nil, err
	}
	p.bases = &bases{dir: in.bases, mirrors: c.mirrors, group: digests.NewGroup(context.Background()), log: log}
	p.closes = append(p.closes, func() error { p.bases.group.Close(); return nil })
	files, err := p.bases.files()
	if err != nil {
		return manifest.Config{}, nil, err
	}
	return manifest.Config{
		Stores: stores, Images: c.images, Root: c.rootParts, Files: files, Pull: p.bases.pull, Cache: p.cache, Log: log,
		Encoding: encodings[c.encoding], Blobs: p.blobs,
	}, p, nil
}

// openStores opens what --store and --demo name, in the order of their preference. Archives are unpacked in the
// directory spool.
func (p *parts) openStores(c *config, spool string, log *slog.Logger) ([]store.Store, error) {
	urls := c.stores
	if len(urls) == 0 && !c.demo && (local.Exists() || len(c.mirrors) == 0) { // a mirror needs no Nix
		urls = []string{autoStore}
	}
	var stores []store.Store
	seen := make(map[string]bool)
	for _, url := range urls {
		o, err := parseStore(url)
		if err != nil {
			return nil, err
		}
		if seen[o.Root] {
			continue // one database must not be opened twice
		}
		seen[o.Root] = true
		o.Log = log
		s, err := local.Open(o)
		if err != nil {
			return nil, fmt.Errorf("store %s: %w", url, err)
		}
		stores = append(stores, s)
		p.closes = append(p.closes, s.Close)
		p.stores = append(p.stores, o.Root+store.Dir)
	}
	if c.demo {
		s, err := binarycache.Open(binarycache.Options{FS: demo.FS(), SpoolDir: spool, Log: log})
		if err != nil {
			return nil, fmt.Errorf("demo store: %w", err)
		}
		stores = append(stores, s)
		p.closes = append(p.closes, s.Close)
		p.stores = append(p.stores, "the demo store")
	}
	return stores, nil
}

func parseStore(url string) (local.Options, error) {
	if url == autoStore {
		if !local.Exists() {
			return local.Options{}, errors.New("no Nix store on this machine: give --store local?root=DIR, or --demo for the built-in one")
		}
		return local.Options{}, nil
	}
	if scheme, _, _ := strings.Cut(url, "?"); scheme != "local" {
		return local.Options{}, fmt.Errorf("store %.300q: not known to this version; known are auto, local and local?root=DIR", url)
	}
	o, err := local.ParseURL(url)
	o.Root = strings.TrimRight(o.Root, "/") // root=/ is the host's own
	return o, err
}

// handler serves everything, for the given image hosts too; or the mirror of that name alone.
func (p *parts) handler(name string, hosts []string, log *slog.Logger) http.Handler {
	if i := slices.IndexFunc(p.mirrors, func(m registry.Mirror) bool { return m.Name == name }); i >= 0 {
		m := p.mirrors[i]
		return &registry.Handler{Source: m.Source, Lister: m.Lister, Referrers: m.Referrers, Hosts: m.Hosts, Log: log}
	}
	s := served{p.source}
	return &registry.Handler{Source: s, Lister: s, Referrers: s, Hosts: hosts, Mirrors: p.mirrors, Faults: p.faults, Log: log}
}

// faults are what is broken in definition files now.
func (p *parts) faults(ctx context.Context) []string { return p.source.Faults(ctx) }

// served is a manifest.Source as registry wants it: the two packages share no types of their own.
type served struct{ *manifest.Source }

func (s served) Manifest(ctx context.Context, r registry.Request) (*v1.Descriptor, error) {
	return s.Source.Manifest(ctx, manifest.Request{Repository: r.Repository, Tag: r.Tag, Digest: r.Digest, Accept: r.Accept})
}

func (s served) Blob(ctx context.Context, r registry.BlobRequest) (registry.Blob, error) {
	b, err := s.Source.Blob(ctx, r.Repository, r.Digest)
	if err != nil {
		return nil, err
	}
	return b, nil
}
