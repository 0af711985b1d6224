package server

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/nixreg/nixreg/registry"
	"github.com/nixreg/nixreg/registry/mirror"
	"github.com/nixreg/nixreg/registry/mirror/blobs"
	"github.com/nixreg/nixreg/registry/pull"
	"github.com/nixreg/nixreg/registry/upstream"
)

// openMirrors opens what --mirror names, and the cache that all of them share.
func (p *parts) openMirrors(c *Config, log *slog.Logger) error {
	dir := foldersIn(c.Data).mirror
	if _, err := os.Stat(dir); len(c.Mirrors) == 0 && err != nil {
		return nil // and what was mirrored before stays for when it is again, but for what is half written
	}
	size := c.MirrorCache
	if len(c.Mirrors) == 0 {
		size = math.MaxInt64 // that of another run may have been larger than this one's
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

// open makes the wire to the registry.
func (m Mirror) open(log *slog.Logger) (*upstream.Registry, error) {
	keys, err := m.keychain()
	if err != nil {
		return nil, err
	}
	up, err := upstream.New(upstream.Options{Name: m.Name, URL: m.URL, Keychain: keys, SkipVerify: m.SkipVerify, Log: log})
	if err != nil {
		return nil, fmt.Errorf("mirror %s: %w", m.Name, err)
	}
	return up, nil
}

// keychain has the registry's credentials: those of the configuration file, or Docker's.
func (m Mirror) keychain() (authn.Keychain, error) {
	if m.Username == "" && m.PasswordFile == "" {
		return authn.DefaultKeychain, nil
	}
	password, err := os.ReadFile(m.PasswordFile)
	if err != nil {
		return nil, fmt.Errorf("mirror %s: password-file: %w", m.Name, err)
	}
	return login{authn.FromConfig(authn.AuthConfig{Username: m.Username, Password: strings.TrimRight(string(password), "\r\n")})}, nil
}

// login is a keychain of one registry alone.
type login struct{ authn.Authenticator }

func (l login) Resolve(authn.Resource) (authn.Authenticator, error) { return l.Authenticator, nil }

// NewPuller returns what downloads images of a registry with the credentials of docker login. Layers wait in dir.
func NewPuller(host string, skipVerify bool, dir string, log *slog.Logger) (*pull.Puller, error) {
	up, err := upstream.New(upstream.Options{
		Name: host, Keychain: authn.DefaultKeychain, SkipVerify: skipVerify, AllowHTTP: skipVerify, Patient: true, Log: log,
	})
	if err != nil {
		return nil, err
	}
	return &pull.Puller{Upstream: pulledFrom{up}, Dir: dir, Log: log}, nil
}

// pulledFrom is a registry as package pull wants it.
type pulledFrom struct{ *upstream.Registry }

func (f pulledFrom) Blob(ctx context.Context, repo string, d v1.Hash) (io.ReadCloser, error) {
	b, err := f.Registry.Blob(ctx, repo, d)
	if err != nil {
		return nil, err
	}
	return b, nil
}
