package server

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/nixreg/nixreg/internal/oci"
	"github.com/nixreg/nixreg/registry/pull"
	"github.com/nixreg/nixreg/registry/upstream"
)

// open returns the client of the registry.
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

// keychain returns the login of the configuration file, or that of docker login.
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

// login is the keychain of a single registry.
type login struct{ authn.Authenticator }

func (l login) Resolve(authn.Resource) (authn.Authenticator, error) { return l.Authenticator, nil }

// openUpstream opens a registry with the credentials of docker login. Plain HTTP is taken on this machine, because no network is
// between, and elsewhere with skipVerify only.
func openUpstream(host string, skipVerify bool, log *slog.Logger) (*upstream.Registry, error) {
	return upstream.New(upstream.Options{
		Name: host, Keychain: authn.DefaultKeychain, SkipVerify: skipVerify, AllowHTTP: skipVerify || oci.IsLoopback(host), Patient: true, Log: log,
	})
}

// NewPuller returns a puller for a registry, with the credentials of docker login. Uncompressed layers are stored in dir during
// a pull.
func NewPuller(host string, skipVerify bool, dir string, log *slog.Logger) (*pull.Puller, error) {
	up, err := openUpstream(host, skipVerify, log)
	if err != nil {
		return nil, err
	}
	return &pull.Puller{Upstream: pulledFrom{up}, Dir: dir, Log: log}, nil
}

// pulledFrom adapts a registry to pull.Upstream.
type pulledFrom struct{ *upstream.Registry }

func (f pulledFrom) Blob(ctx context.Context, repo string, d v1.Hash) (io.ReadCloser, error) {
	b, err := f.Registry.Blob(ctx, repo, d)
	if err != nil {
		return nil, err
	}
	return b, nil
}
