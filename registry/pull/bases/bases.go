// Package bases keeps the base images that definitions name at registries, as the archives that nixpkgs' pullImage makes of them.
//
// It owns the names of the archives (digest and platform, so that an archive is right for ever), what makes an archive right, and
// the removal of those that no definition names. Package diskcache owns the files, package pull the download. The package must not
// know what an image definition is.
//
//	c, err := bases.Open(bases.Options{Dir: dir, Upstream: open})
//	defer c.Close()
//	file, err := c.Pull(ctx, "docker://docker.io/library/debian@sha256:…", platform)
package bases

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/nixreg/nixreg/internal/diskcache"
	"github.com/nixreg/nixreg/registry"
	"github.com/nixreg/nixreg/registry/pull"
	"github.com/nixreg/nixreg/registry/upstream"
)

// Options configures a [Cache].
type Options struct {
	Dir      string                                   // is made if it is absent
	Upstream func(host string) (pull.Upstream, error) // returns the registry of a host
	Log      *slog.Logger                             // nil is silence
}

// Cache is safe for concurrent use, by one process at a time.
type Cache struct {
	files    *diskcache.Cache
	upstream func(host string) (pull.Upstream, error)
	log      *slog.Logger
}

var name = regexp.MustCompile(`^[0-9a-f]{64}(-[A-Za-z0-9._]+){2,3}\.tar$`)

var layout = diskcache.Layout{
	Keys:       "*.tar",
	Incomplete: ".nixreg-*",
	Sum:        func(key string) (none [sha256.Size]byte, ok bool) { return none, name.MatchString(key) },
}

// Kept returns the files of the archives in a directory, sorted. An absent directory has none.
func Kept(dir string) ([]string, error) {
	files, err := diskcache.List(dir, layout)
	return slices.Sorted(maps.Keys(files)), err
}

// Open opens the cache in a directory, and removes what a killed process left incomplete. Other files are left alone. The caller
// closes the Cache.
func Open(o Options) (*Cache, error) {
	files, err := diskcache.New(diskcache.Options{
		Dir: o.Dir, Layout: layout, Max: math.MaxInt64, Sync: true, Log: o.Log,
		Verify: func(ctx context.Context, _ string, r io.Reader) error { return Verify(ctx, r) },
	})
	if err != nil {
		return nil, fmt.Errorf("base images: %w", err)
	}
	return &Cache{files, o.Upstream, cmp.Or(o.Log, slog.New(slog.DiscardHandler))}, nil
}

// Close ends the downloads and waits for them.
func (c *Cache) Close() error { return c.files.Close() }

// Pull returns the file with the archive of docker://HOST/REPO@DIGEST for a platform. A download runs once for all callers. That
// it fails is a [registry.StatusError]: the image that a client asked for exists, and cannot be made now.
func (c *Cache) Pull(ctx context.Context, image string, platform v1.Platform) (string, error) {
	ref, err := pull.ParseReference(image)
	if err != nil {
		return "", err
	}
	parts := []string{ref.Digest.Hex, platform.OS, platform.Architecture}
	if platform.Variant != "" {
		parts = append(parts, platform.Variant)
	}
	key := strings.Join(parts, "-") + ".tar"
	f, err := c.files.Get(ctx, key, nil, func(ctx context.Context, f *diskcache.Fill) error {
		p := pull.Platform{OS: platform.OS, Architecture: platform.Architecture, Variant: platform.Variant}
		return c.failed(ref, c.fetch(ctx, ref, p, f))
	})
	if err != nil {
		return "", err
	}
	defer f.Close()
	if err := f.Wait(ctx); err != nil {
		return "", err
	}
	if !f.Kept() {
		return "", c.failed(ref, errors.New("its archive cannot be kept"))
	}
	return c.files.Path(key), nil
}

func (c *Cache) fetch(ctx context.Context, ref pull.Reference, platform pull.Platform, f *diskcache.Fill) error {
	up, err := c.upstream(ref.Host)
	if err != nil {
		return err
	}
	if err := f.Announce(-1); err != nil {
		return err
	}
	c.log.Info("base image is fetched", "image", ref.Familiar, "digest", ref.Digest, "platform", platform)
	p := pull.Puller{Upstream: up, Dir: c.files.Dir, Log: c.log}
	_, err = p.Pull(ctx, pull.Request{Image: ref, Platform: platform, FinalName: ref.Familiar, FinalTag: "latest"}, f)
	return err
}

func (c *Cache) failed(ref pull.Reference, err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	s := &registry.StatusError{Status: http.StatusBadGateway, Err: fmt.Errorf("base image %s@%s: %v", ref.Familiar, ref.Digest, err)}
	s.Text = "the base image cannot be fetched; the log of nixreg tells why" // the definition names the image
	if u := (*upstream.Error)(nil); errors.As(err, &u) {
		s.RetryAfter = u.RetryAfter
	}
	return s
}

// Prune removes the archives of images that are not among those named.
func (c *Cache) Prune(images []string) error {
	wanted := make(map[string]bool)
	for _, image := range images {
		if ref, err := pull.ParseReference(image); err == nil {
			wanted[ref.Digest.Hex] = true
		}
	}
	files, err := Kept(c.files.Dir)
	for _, file := range files {
		key := filepath.Base(file)
		if digest, _, _ := strings.Cut(key, "-"); !wanted[digest] {
			c.log.Info("base image is removed: no definition names it", "file", file)
			c.files.Remove(key)
		}
	}
	return err
}
