package catalog

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/nixreg/nixreg/internal/flight"
	"github.com/nixreg/nixreg/internal/kv"
	"github.com/nixreg/nixreg/manifest/draft"
	"github.com/nixreg/nixreg/manifest/finished"
	"github.com/nixreg/nixreg/manifest/packages"
	"github.com/nixreg/nixreg/store"
)

const (
	// reuseFor is how long the result of a build is used again without asking the builder, whose source may change.
	reuseFor = time.Minute
	// resultBytes bounds the memory for the results of builds.
	resultBytes = 2 << 20
	// maxOutputs bounds the store paths of one attribute.
	maxOutputs = 64
	// maxBuildTries bounds how often one build is repeated because the garbage collector deleted its paths before they were
	// protected.
	maxBuildTries = 3
)

// order is an attribute to build, and the architecture to build it for.
type order struct{ attr, arch string }

// buildResult is the result of a build, and the time when it ended.
type buildResult struct {
	paths []store.Path
	image packages.Image
	at    time.Time
}

// outputs builds an attribute for each of archs, or for the builder's own architecture if archs is empty. It returns the images of
// the main outputs, for the architectures that have the package. If no architecture has it, outputs returns an error.
func (b *builds) outputs(ctx context.Context, attr string, archs []string) ([]packages.Image, error) {
	if len(archs) == 0 {
		archs = []string{""}
	}
	all, absent := make([]packages.Image, len(archs)), make([]error, len(archs))
	g, within := errgroup.WithContext(ctx)
	for i, arch := range archs {
		g.Go(flight.Guarded(func() (err error) {
			all[i], err = b.build(within, order{attr, arch})
			if errors.Is(err, fs.ErrNotExist) {
				absent[i], err = err, nil
			}
			return err
		}))
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(m packages.Image) bool { return m.Contents == nil })
	if len(all) == 0 {
		return nil, absent[0]
	}
	return all, nil
}

// build asks the builder for an attribute at most once a minute, if the stores still have its paths. The builder itself knows
// which attributes are built already.
func (b *builds) build(ctx context.Context, o order) (m packages.Image, err error) {
	if r, ok := b.results.Get(o); ok && time.Since(r.at) < reuseFor && b.present(ctx, r.paths) == nil {
		return r.image, nil
	}
	var gone error
	for range maxBuildTries {
		built, err := b.builder.Build(ctx, o.attr, o.arch)
		if err == nil && (len(built.Outputs) == 0 || len(built.Outputs) > maxOutputs) {
			err = fmt.Errorf("build of %s gave %d paths", o.attr, len(built.Outputs))
		}
		if err != nil {
			return m, err
		}
		if gone = b.holdBuilt(ctx, o, built.Outputs); gone == nil {
			m, gone = b.packages.ImageOfBuilt(ctx, built)
		}
		if gone == nil {
			b.results.Put(o, buildResult{built.Outputs, m, time.Now()}, int64(len(o.attr)+100*len(built.Outputs)))
			return m, nil
		}
		if !errors.Is(gone, fs.ErrNotExist) {
			return m, gone
		}
	}
	return m, fmt.Errorf("%s was built, and none of the stores has it: %v: %w", o.attr, gone, store.ErrUnavailable)
}

// holdBuilt protects the paths of a build from the garbage collector until the image made of them is protected.
func (b *builds) holdBuilt(ctx context.Context, o order, paths []store.Path) error {
	if b.holder == nil {
		return nil
	}
	sum := sha256.Sum256([]byte("build\x00" + o.attr + "\x00" + o.arch))
	key := hex.EncodeToString(sum[:])
	return b.holder.Hold(ctx, key, slices.Clone(paths))
}

func (b *builds) present(ctx context.Context, paths []store.Path) error {
	for _, p := range paths {
		if _, err := b.store.Object(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// wholeImage reports whether the result of a build is an image itself, and not a package: a single file, or an OCI layout.
func (b *builds) wholeImage(ctx context.Context, p store.Path) (bool, error) {
	at, nd, err := store.Resolve(ctx, b.store, p.Abs())
	if err != nil {
		return false, err
	}
	if nd.Kind == store.Regular {
		return true, nil
	}
	return finished.IsLayout(ctx, b.store, at, nd.Name)
}

func imageRecord(attr string) string { return "build/" + attr }

// isImage reports whether an attribute was found to be a whole image, by this process or an earlier one. A whole image may have
// tags of its own.
func (b *builds) isImage(ctx context.Context, attr string) bool {
	var image bool
	return kv.Read(ctx, b.cache, imageRecord(attr), &image) == nil && image
}

// image defines the whole image at p. For a tag that [builds.moving] reports, it returns the image that the file itself tags
// latest.
func (b *builds) image(ctx context.Context, repository, attr string, p store.Path, tag string) ([]*draft.Definition, error) {
	if b.moving(tag) {
		tag = packages.Latest
	}
	defs, err := b.files.lookupFile(ctx, repository, p.Abs(), tag)
	if err != nil {
		return nil, err
	}
	if !b.isImage(ctx, attr) {
		err = kv.Write(ctx, b.cache, imageRecord(attr), true)
	}
	return defs, err
}
