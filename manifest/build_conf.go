package manifest

import (
	"context"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/nixreg/nixreg/manifest/dockertools"
	"github.com/nixreg/nixreg/manifest/document"
	"github.com/nixreg/nixreg/manifest/finished"
	"github.com/nixreg/nixreg/manifest/layer"
	"github.com/nixreg/nixreg/store"
)

// confObjects returns the objects a conf.json names: a path that is not valid gives an error matching
// [fs.ErrNotExist].
func confObjects(ctx context.Context, s store.Store, c *dockertools.Conf) ([]*store.Object, error) {
	paths := append(slices.Concat(c.StoreLayers...), c.Customisation)
	if c.FromImage != "" {
		paths = append(paths, c.FromImage)
	}
	objects, err := store.Objects(ctx, s, paths...)
	if err != nil {
		return nil, fmt.Errorf("conf.json names a path: %w", err)
	}
	return objects, nil
}

// draftConf lays out the image of a conf.json as stream_layered_image.py does: the base image's layers, the store
// layers, the customisation layer.
func draftConf(ctx context.Context, m *layer.Maker, c *dockertools.Conf, objects []*store.Object) (*draft, error) {
	byPath := make(map[store.Path]*store.Object, len(objects))
	for _, o := range objects {
		byPath[o.Path] = o
	}
	b := &draft{image: document.Image{Warnings: slices.Clone(c.Warnings)}}
	b.config = document.Config{Created: c.Created, Architecture: c.Architecture, Variant: c.Variant, Config: c.Config}
	if c.FromImage != "" {
		base, err := finished.OpenBase(ctx, m, byPath[c.FromImage], c.Architecture)
		if err == nil {
			err = b.addBase(base)
		}
		if err != nil {
			return nil, fmt.Errorf("from_image: %w", err)
		}
	}
	for _, paths := range c.StoreLayers {
		b.addStorePaths(paths, byPath, c.Owner, c.MTime)
	}
	if err := b.addCustomisation(ctx, m.Store, byPath[c.Customisation]); err != nil {
		return nil, fmt.Errorf("customisation_layer: %w", err)
	}
	b.describeCommand()
	b.warnOfKeys()
	return b, nil
}

func (b *draft) addCustomisation(ctx context.Context, s store.Store, o *store.Object) error {
	sum, err := store.ReadFile(ctx, s, o.Path, "checksum", 1024)
	if err != nil {
		return err
	}
	want, err := v1.NewHash("sha256:" + strings.TrimSpace(string(sum)))
	if err != nil {
		return fmt.Errorf("%s/checksum: %w: %w", o.Path, err, fs.ErrInvalid)
	}
	b.add(draftLayer{
		recipe:   layer.Recipe{Format: layer.Verbatim, Objects: []layer.Ref{layer.RefOf(o)}, File: "layer.tar"},
		contents: []string{o.Path.Abs()},
		want:     want,
		size:     o.NarSize,
	})
	return nil
}

func (b *draft) mergeBaseEnv(config []byte) error {
	doc, err := document.Parse(config)
	if err != nil {
		return fmt.Errorf("config: %w", err)
	}
	baseConfig, _ := doc.Get("config")
	baseEnv, _ := baseConfig.Get("Env")
	ownEnv, _ := b.config.Config.Get("Env")
	for _, v := range slices.Concat(baseEnv.Items, ownEnv.Items) {
		if _, ok := v.AsString(); !ok {
			return fmt.Errorf("config: Env is not a list of strings: %w", fs.ErrInvalid)
		}
	}
	if merged := document.MergeEnv(baseEnv.Items, ownEnv.Items); len(merged) > 0 {
		config := b.config.Config
		if config.Kind != '{' { // null
			config = document.Value{Kind: '{'}
		}
		// The lists of keys are shared with the definition: set on a copy.
		config.Keys, config.Items = slices.Clone(config.Keys), slices.Clone(config.Items)
		config.Set("Env", document.List(merged...))
		b.config.Config = config
	}
	return nil
}

// words returns the strings listed under some keys of a config, one list after the other.
func words(config document.Value, keys ...string) []string {
	var out []string
	for _, k := range keys {
		list, _ := config.Get(k)
		for _, v := range list.Items {
			if s, ok := v.AsString(); ok {
				out = append(out, s)
			}
		}
	}
	return out
}
