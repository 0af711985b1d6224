package main

import (
	"fmt"
	"log/slog"
	"math"
	"os"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/nixreg/nixreg/registry"
	"github.com/nixreg/nixreg/registry/mirror"
	"github.com/nixreg/nixreg/registry/mirror/blobs"
	"github.com/nixreg/nixreg/registry/upstream"
)

// openMirrors opens what --mirror names, and the cache that all of them share.
func (p *parts) openMirrors(c *config, dir string, log *slog.Logger) error {
	if _, err := os.Stat(dir); len(c.mirrors) == 0 && err != nil {
		return nil // and what was mirrored before stays for when it is again, but for what is half written
	}
	size := c.mirrorCache
	if len(c.mirrors) == 0 {
		size = math.MaxInt64 // that of another run may have been larger than this one's
	}
	cache, err := blobs.Open(blobs.Options{Dir: dir, Max: size, Log: log})
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
