package manifest

import (
	"context"
	"fmt"
	"io/fs"

	"github.com/nixreg/nixreg/manifest/document"
	"github.com/nixreg/nixreg/manifest/layer"
	"github.com/nixreg/nixreg/store"
)

// layoutBase opens the only image of a layout as a base, of several platforms the one for arch.
func layoutBase(ctx context.Context, m *layer.Maker, o *store.Object, arch string) (*Base, error) {
	b, list, err := readLayoutIndex(ctx, m.Store, o, "")
	if err != nil {
		return nil, err
	}
	r := &ready{Root: &list[0]}
	switch {
	case arePlatforms(list):
		r = indexedLayout(o, "", b)
	case len(list) > 1:
		return nil, fmt.Errorf("layout %s holds %d images, and a base is one: %w", o.Path, len(list), fs.ErrInvalid)
	}
	l, err := readLayout(ctx, m.Store, o, r)
	if err != nil {
		return nil, fmt.Errorf("layout %s: %w", o.Path, err)
	}
	base, err := openLayoutBase(ctx, m, o, l.manifest(arch))
	if err != nil {
		return nil, fmt.Errorf("layout %s: %w", o.Path, err)
	}
	return base, nil
}

func openLayoutBase(ctx context.Context, m *layer.Maker, o *store.Object, doc *layoutDocument) (*Base, error) {
	if doc == nil || doc.parsed.Config == nil {
		return nil, fmt.Errorf("no image manifest: %w", fs.ErrInvalid)
	}
	l := layoutReader{store: m.Store, object: o}
	config, err := readLayoutFile(ctx, m.Store, o, l.file(doc.parsed.Config.Digest), maxBaseDocument)
	if err != nil {
		return nil, err
	}
	if document.Digest(config) != doc.parsed.Config.Digest {
		return nil, fmt.Errorf("config %s has other bytes: %w", doc.parsed.Config.Digest, fs.ErrInvalid)
	}
	ids, err := diffIDs(config)
	if err != nil {
		return nil, err
	}
	if len(ids) != len(doc.parsed.Layers) {
		return nil, fmt.Errorf("%d layers, but %d diff_ids: %w", len(doc.parsed.Layers), len(ids), fs.ErrInvalid)
	}
	base := &Base{Config: config}
	for i, d := range doc.parsed.Layers {
		r, err := m.Pinned(ctx, l.recipe(d.Digest))
		if err != nil {
			return nil, err
		}
		if r.Packed, err = m.Packing(ctx, r); err != nil {
			return nil, err
		}
		base.Layers = append(base.Layers, BaseLayer{Recipe: r, Name: d.Digest.String(), DiffID: ids[i], Size: d.Size})
	}
	return base, nil
}
