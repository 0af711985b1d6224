package manifest

import (
	"context"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/nixreg/nixreg/manifest/layer"
	"github.com/nixreg/nixreg/store"
)

// confObjects returns the objects a conf.json names: a path that is not valid gives an error matching
// [fs.ErrNotExist].
func confObjects(ctx context.Context, s store.Store, c *Conf) ([]*store.Object, error) {
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
func draftConf(ctx context.Context, m *layer.Maker, c *Conf, objects []*store.Object) (*draft, error) {
	byPath := make(map[store.Path]*store.Object, len(objects))
	for _, o := range objects {
		byPath[o.Path] = o
	}
	b := &draft{image: Image{Warnings: slices.Clone(c.Warnings)}}
	b.config = imageConfig{created: c.Created, architecture: c.Architecture, variant: c.Variant, config: c.Config}
	if c.FromImage != "" {
		base, err := openBase(ctx, m, byPath[c.FromImage], c.Architecture)
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
	doc, err := parseJSON(config)
	if err != nil {
		return fmt.Errorf("config: %w", err)
	}
	baseConfig, _ := doc.get("config")
	baseEnv, _ := baseConfig.get("Env")
	ownEnv, _ := b.config.config.get("Env")
	for _, v := range slices.Concat(baseEnv.items, ownEnv.items) {
		if _, ok := v.string(); !ok {
			return fmt.Errorf("config: Env is not a list of strings: %w", fs.ErrInvalid)
		}
	}
	if merged := mergeEnv(baseEnv.items, ownEnv.items); len(merged) > 0 {
		config := b.config.config
		if config.kind != '{' { // null
			config = value{kind: '{'}
		}
		// The lists of keys are shared with the definition: set on a copy.
		config.keys, config.items = slices.Clone(config.keys), slices.Clone(config.items)
		config.set("Env", listValue(merged...))
		b.config.config = config
	}
	return nil
}

// words returns the strings listed under some keys of a config, one list after the other.
func words(config value, keys ...string) []string {
	var out []string
	for _, k := range keys {
		list, _ := config.get(k)
		for _, v := range list.items {
			if s, ok := v.string(); ok {
				out = append(out, s)
			}
		}
	}
	return out
}
