package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/nixreg/nixreg/internal/filestamp"
	"github.com/nixreg/nixreg/internal/flight"
	"github.com/nixreg/nixreg/internal/outfile"
	"github.com/nixreg/nixreg/registry"
	"github.com/nixreg/nixreg/registry/pull"
	"github.com/nixreg/nixreg/registry/upstream"
)

// bases fetches the base images that definitions name at registries, each once, as the archives that nixpkgs' pullImage
// would make of them, and keeps those in a directory, as long as a definition names them. They are named by digest and
// platform, so that they are right for ever.
type bases struct {
	dir     string
	mirrors []Mirror // what is known of some registries
	group   *flight.Group
	log     *slog.Logger

	verified sync.Map // the states (filestamp.Stamp) by file in which files need no look any more
}

// pull returns the file with the archive of docker://HOST/REPO@DIGEST for a platform.
func (b *bases) pull(ctx context.Context, name string, platform v1.Platform) (string, error) {
	ref, err := pull.ParseReference(name)
	if err != nil {
		return "", err
	}
	parts := []string{ref.Digest.Hex, platform.OS, platform.Architecture}
	if platform.Variant != "" {
		parts = append(parts, platform.Variant)
	}
	file := filepath.Join(b.dir, strings.Join(parts, "-")+".tar")
	return flight.Once(ctx, b.group, file, func(ctx context.Context) (string, error) {
		if ok, err := b.sound(ctx, file); ok || err != nil {
			return file, err
		}
		return file, b.fetch(ctx, ref, pull.Platform{OS: platform.OS, Architecture: platform.Architecture, Variant: platform.Variant}, file)
	})
}

func (b *bases) fetch(ctx context.Context, ref pull.Reference, platform pull.Platform, file string) error {
	if err := os.MkdirAll(b.dir, 0o700); err != nil {
		return fmt.Errorf("directory of base images: %v", err) // whatever it matches is not about the image
	}
	m := Mirror{Name: ref.Host}
	if i := slices.IndexFunc(b.mirrors, func(m Mirror) bool { return m.Name == ref.Host }); i >= 0 {
		m = b.mirrors[i]
	}
	up, err := m.open(b.log)
	if err != nil {
		return err
	}
	p := pull.Puller{Upstream: pulledFrom{up}, Dir: b.dir, Log: b.log}
	b.log.Info("base image is fetched", "image", ref.Familiar, "digest", ref.Digest, "platform", platform)
	err = outfile.WriteFile(file, true, func(w io.Writer) error { // in the place of a damaged one
		_, err := p.Pull(ctx, pull.Request{Image: ref, Platform: platform, FinalName: ref.Familiar, FinalTag: "latest"}, w)
		return err
	})
	if info, statErr := os.Lstat(file); err == nil && statErr == nil {
		state, _ := filestamp.Of(info)
		b.verified.Store(file, state)
	}
	return b.failed(ref, err)
}

// failed makes an error of what kept a base image from being fetched. That it is not there, or not for us, is not what a
// client asked: its image is there, and cannot be made now.
func (b *bases) failed(ref pull.Reference, err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	s := &registry.StatusError{Status: http.StatusBadGateway, Err: fmt.Errorf("base image %s@%s: %v", ref.Familiar, ref.Digest, err)}
	s.Text = "the base image cannot be fetched; the log of nixreg tells why" // which one it is, the definition says
	if u := (*upstream.Error)(nil); errors.As(err, &u) {
		s.RetryAfter = u.RetryAfter
	}
	return s
}

// prune removes the archives of images that are not among names.
func (b *bases) prune(names []string) error {
	wanted := make(map[string]bool)
	for _, name := range names {
		if ref, err := pull.ParseReference(name); err == nil {
			wanted[ref.Digest.Hex] = true
		}
	}
	files, err := b.files()
	for _, file := range files {
		digest, _, _ := strings.Cut(filepath.Base(file), "-")
		if !wanted[digest] {
			b.log.Info("base image is removed: no definition names it", "file", file)
			b.verified.Delete(file)
			err = errors.Join(err, os.Remove(file))
		}
	}
	return err
}

// baseName is what a base image is called: its digest and its platform.
var baseName = regexp.MustCompile(`^[0-9a-f]{64}(-[A-Za-z0-9._]+){2,3}\.tar$`)

// files are those that were fetched before.
func (b *bases) files() (all []string, err error) {
	err = b.each(func(name, file string) {
		if baseName.MatchString(name) {
			all = append(all, file)
		}
	})
	return all, err
}

// sweep removes what a killed process left half written.
func (b *bases) sweep() error {
	return b.each(func(name, file string) {
		if strings.HasPrefix(name, ".") {
			_ = os.Remove(file)
		}
	})
}

// each calls f for the regular files of the directory, which need not be there.
func (b *bases) each(f func(name, file string)) error {
	entries, err := os.ReadDir(b.dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("directory of base images: %w", err)
	}
	for _, e := range entries {
		if e.Type().IsRegular() {
			f(e.Name(), filepath.Join(b.dir, e.Name()))
		}
	}
	return nil
}
