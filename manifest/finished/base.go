package finished

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/nixreg/nixreg/internal/oci"
	"github.com/nixreg/nixreg/manifest/document"
	"github.com/nixreg/nixreg/manifest/layer"
	"github.com/nixreg/nixreg/store"
)

// Base is a base image.
type Base struct {
	Config []byte // nixreg uses its Env and architecture
	Layers []BaseLayer
}

// BaseLayer is one layer of a base image, bottom first.
type BaseLayer struct {
	Recipe layer.Recipe
	Name   string  // in the image's history; for a docker-archive the name of the member
	DiffID v1.Hash // of the bytes of the recipe
	Size   int64   // approximate number of bytes to hash
}

// OpenBase reads the image in a store path: the first one of a docker-archive, or the one of an OCI layout. If a layout has
// one for several platforms, it is the one for arch.
func OpenBase(ctx context.Context, m *layer.Maker, o *store.Object, arch string) (*Base, error) {
	if layout, err := IsLayout(ctx, m.Store, o.Path, ""); err != nil {
		return nil, err
	} else if layout {
		return layoutBase(ctx, m, o, arch, false)
	}
	a, err := m.Archive(ctx, o, "")
	if err != nil {
		return nil, err
	}
	if IsPackedLayout(a) {
		return layoutBase(ctx, m, o, arch, true)
	}
	images, err := ArchiveImages(ctx, a)
	if err != nil {
		return nil, fmt.Errorf("archive %s: %w", o.Path, err)
	}
	base, err := images[0].Open(ctx, a)
	if err != nil {
		return nil, fmt.Errorf("archive %s: %w", o.Path, err)
	}
	return base, nil
}

// Architecture returns the architecture of the image's config, "" if it has none.
func (b *Base) Architecture() string {
	var doc struct {
		Architecture string `json:"architecture"`
	}
	if json.Unmarshal(b.Config, &doc) != nil || !oci.IsPlatformWord(doc.Architecture) {
		return ""
	}
	return doc.Architecture
}

// layoutBase opens the only image of a layout.
func layoutBase(ctx context.Context, m *layer.Maker, o *store.Object, arch string, packed bool) (*Base, error) {
	b, list, err := ReadLayoutIndex(ctx, m, o, "", packed)
	if err != nil {
		return nil, err
	}
	r := &Image{Root: &list[0], Packed: packed}
	switch {
	case ArePlatforms(list):
		r = IndexedLayout(o, "", packed, b)
	case len(list) > 1:
		return nil, fmt.Errorf("layout %s holds %d images, and a base is one: %w", o.Path, len(list), fs.ErrInvalid)
	}
	l, err := ReadLayout(ctx, m, o, r)
	if err != nil {
		return nil, fmt.Errorf("layout %s: %w", o.Path, err)
	}
	files, err := openLayout(ctx, m, o, "", packed)
	if err != nil {
		return nil, err
	}
	base, err := openLayoutBase(ctx, m, files, l.Manifest(arch))
	if err != nil {
		return nil, fmt.Errorf("layout %s: %w", o.Path, err)
	}
	return base, nil
}

func openLayoutBase(ctx context.Context, m *layer.Maker, files layoutFiles, doc *Document) (*Base, error) {
	if doc == nil || doc.parsed.Config == nil {
		return nil, fmt.Errorf("no image manifest: %w", fs.ErrInvalid)
	}
	config, err := files.read(ctx, blobName(doc.parsed.Config.Digest), MaxBaseDocument)
	if err != nil {
		return nil, err
	}
	if document.Digest(config) != doc.parsed.Config.Digest {
		return nil, fmt.Errorf("config %s has other bytes: %w", doc.parsed.Config.Digest, fs.ErrInvalid)
	}
	ids, err := document.DiffIDs(config)
	if err != nil {
		return nil, err
	}
	if len(ids) != len(doc.parsed.Layers) {
		return nil, fmt.Errorf("%d layers, but %d diff_ids: %w", len(doc.parsed.Layers), len(ids), fs.ErrInvalid)
	}
	base := &Base{Config: config}
	for i, d := range doc.parsed.Layers {
		r, err := files.recipe(blobName(d.Digest))
		if err != nil {
			return nil, err
		}
		if r, err = m.Pinned(ctx, r); err != nil {
			return nil, err
		}
		if r.Packed, err = m.Compression(ctx, r); err != nil {
			return nil, err
		}
		base.Layers = append(base.Layers, BaseLayer{Recipe: r, Name: d.Digest.String(), DiffID: ids[i], Size: d.Size})
	}
	return base, nil
}
