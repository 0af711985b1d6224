package server

import (
	"fmt"
	"log/slog"
	"math"
	"os"

	"github.com/nixreg/nixreg/registry"
	"github.com/nixreg/nixreg/registry/mirror"
	"github.com/nixreg/nixreg/registry/mirror/blobs"
)

// openMirrors opens the mirrors of the settings, and the cache that they share. Without mirrors it only removes incomplete
// files from an existing cache.
func (p *parts) openMirrors(c *Config, log *slog.Logger) error {
	dir := foldersIn(c.Data).mirror
	if _, err := os.Stat(dir); len(c.Mirrors) == 0 && err != nil {
		return nil // nothing to clean up
	}
	size := c.MirrorCache
	if len(c.Mirrors) == 0 {
		size = math.MaxInt64 // keep all that another run has mirrored
	}
	cache, err := blobs.Open(blobs.Options{Dir: dir, Max: size, Log: log})
	if err != nil {
		return fmt.Errorf("mirror cache: %w", err)
	}
	p.closes = append(p.closes, cache.Close)
	for _, mc := range c.Mirrors {
		up, err := mc.open(log)
		if err != nil {
			return err
		}
		m, err := mirror.New(mirror.Config{
			Upstream: up, Blobs: cache, Records: p.cache, TTL: mc.TTL, Allow: mc.Allow, Deny: mc.Deny, Log: log,
		})
		if err != nil {
			return err
		}
		p.closes = append(p.closes, m.Close)
		p.mirrors = append(p.mirrors, registry.Mirror{Name: mc.Name, Hosts: mc.Hosts(), Source: m, Lister: m, Referrers: m})
	}
	return nil
}
