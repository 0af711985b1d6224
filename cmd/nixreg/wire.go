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
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"nixreg/manifest"
	"nixreg/manifest/digests"
	"nixreg/manifest/layer"
	"nixreg/registry"
	"nixreg/store"
	"nixreg/store/binarycache"
	"nixreg/store/demo"
	"nixreg/store/local"
)

// encodings are the values of --layer-encoding. A better compressor will be another name beside them.
var encodings = map[string]layer.Encoding{"tar": layer.Tar, "gzip": layer.Gzip, "zstd": layer.Zstd}

// parts are what a command is made of, and how to take it apart again.
type parts struct {
	source *manifest.Source
	blobs  *layer.Blobs // nil: none are kept
	stores []string     // their names, for people
	closes []func() error
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
	return open(c, os.TempDir(), log, func(*parts) (digests.Cache, error) { return new(digests.Memory), nil })
}

// nearDigests is how many bytes of records are kept in memory in front of those on disk.
const nearDigests = 16 << 20

// servedSource makes images with digests kept in a data directory.
func servedSource(c *config, data *dataDir, log *slog.Logger) (*parts, error) {
	return open(c, data.spool, log, func(p *parts) (_ digests.Cache, err error) {
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
}

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

func open(c *config, spool string, log *slog.Logger, openCache func(*parts) (digests.Cache, error)) (_ *parts, err error) {
	p := new(parts)
	defer func() {
		if err != nil {
			err = errors.Join(err, p.close())
		}
	}()
	stores, err := p.openStores(c, spool, log)
	if err != nil {
		return nil, err
	}
	cache, err := openCache(p)
	if err != nil {
		return nil, err
	}
	p.source, err = manifest.NewSource(manifest.Config{
		Stores: stores, Images: c.images, Cache: cache, Log: log, Encoding: encodings[c.encoding], Blobs: p.blobs,
	})
	if err != nil {
		return nil, err
	}
	p.closes = append(p.closes, p.source.Close)
	return p, nil
}

// openStores opens what --store and --demo name, in the order of their preference. Archives are unpacked in the
// directory spool.
func (p *parts) openStores(c *config, spool string, log *slog.Logger) ([]store.Store, error) {
	urls := c.stores
	if len(urls) == 0 && !c.demo {
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

// handler serves the images of source, as a mirror of the given hosts too.
func handler(source *manifest.Source, hosts []string, log *slog.Logger) http.Handler {
	s := served{source}
	return &registry.Handler{Source: s, Lister: s, Referrers: s, Hosts: hosts, Log: log}
}

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
