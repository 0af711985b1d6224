package manifest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"nixreg/manifest/layer"
	"nixreg/store"
)

// maxBaseDocument bounds manifest.json and the config of a base image, in bytes.
const maxBaseDocument = 8 << 20

// confObjects returns the objects a conf.json names: a path that is not valid gives an error matching
// [fs.ErrNotExist].
func confObjects(ctx context.Context, s store.Store, c *Conf) ([]*store.Object, error) {
	paths := append(slices.Concat(c.StoreLayers...), c.Customisation)
	if c.FromImage != "" {
		paths = append(paths, c.FromImage)
	}
	slices.Sort(paths)
	var out []*store.Object
	for _, p := range slices.Compact(paths) {
		o, err := s.Object(ctx, p)
		if err != nil {
			return nil, fmt.Errorf("conf.json names %s: %w", p.Abs(), err)
		}
		out = append(out, o)
	}
	return out, nil
}

// draftConf lays out the image of a conf.json as stream_layered_image.py does: the base image's layers, the store
// layers, the customisation layer.
func draftConf(ctx context.Context, s store.Store, c *Conf, objects []*store.Object) (*draft, error) {
	byPath := make(map[store.Path]*store.Object, len(objects))
	for _, o := range objects {
		byPath[o.Path] = o
	}
	b := &draft{image: Image{Warnings: slices.Clone(c.Warnings)}}
	b.config = imageConfig{created: c.Created, architecture: c.Architecture, variant: c.Variant, config: c.Config}
	if c.FromImage != "" {
		if err := b.addBase(ctx, s, byPath[c.FromImage]); err != nil {
			return nil, fmt.Errorf("from_image: %w", err)
		}
	}
	for _, paths := range c.StoreLayers {
		b.addStorePaths(paths, byPath, c.Owner, c.MTime)
	}
	if err := b.addCustomisation(ctx, s, byPath[c.Customisation]); err != nil {
		return nil, fmt.Errorf("customisation_layer: %w", err)
	}
	b.image.Command, b.image.Env = words(b.config.config, "Entrypoint", "Cmd"), words(b.config.config, "Env")
	if len(b.image.Command) == 0 {
		b.image.CommandNote = "the image's config has neither Entrypoint nor Cmd"
	}
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
	b.layers = append(b.layers, draftLayer{
		recipe:   layer.Recipe{Format: layer.Verbatim, Objects: []layer.Ref{layer.RefOf(o)}, File: "layer.tar"},
		contents: []string{o.Path.Abs()},
		want:     want,
		size:     o.NarSize,
	})
	b.config.comments = append(b.config.comments, storePathsComment([]string{o.Path.Abs()}))
	return nil
}

// addBase puts a docker-archive's layers below all others. Of its config, Env alone counts.
//
// Source: stream_layered_image.py, load_from_image, add_base_layers and overlay_base_config.
func (b *draft) addBase(ctx context.Context, s store.Store, o *store.Object) error {
	a, err := layer.OpenArchive(ctx, s, o)
	if err != nil {
		return err
	}
	names, config, err := baseDocuments(ctx, s, a)
	if err != nil {
		return err
	}
	var base struct {
		RootFS struct {
			DiffIDs []v1.Hash `json:"diff_ids"`
		} `json:"rootfs"`
	}
	if err := json.Unmarshal(config, &base); err != nil {
		return fmt.Errorf("archive %s: config: %w: %w", o.Path, err, fs.ErrInvalid)
	}
	if len(names) != len(base.RootFS.DiffIDs) {
		return fmt.Errorf("archive %s: %d layers, but %d diff_ids: %w", o.Path, len(names), len(base.RootFS.DiffIDs), fs.ErrInvalid)
	}
	for i, name := range names {
		r, err := a.Recipe(name)
		if err != nil {
			return err
		}
		b.layers = append(b.layers, draftLayer{recipe: r, contents: []string{name}, want: base.RootFS.DiffIDs[i], size: r.Size})
		b.config.comments = append(b.config.comments, storePathsComment([]string{name}))
	}
	return b.mergeBaseEnv(config)
}

func baseDocuments(ctx context.Context, s store.Store, a *layer.Archive) (layers []string, config []byte, err error) {
	b, err := a.Read(ctx, s, "manifest.json", maxBaseDocument)
	if err != nil {
		return nil, nil, err
	}
	var images []struct {
		Config string
		Layers []string
	}
	if err := json.Unmarshal(b, &images); err != nil {
		return nil, nil, fmt.Errorf("manifest.json: %w: %w", err, fs.ErrInvalid)
	}
	if len(images) == 0 {
		return nil, nil, fmt.Errorf("manifest.json lists no image: %w", fs.ErrInvalid)
	}
	if len(images[0].Layers) > maxLayersOfConf {
		return nil, nil, fmt.Errorf("%d layers: %w", len(images[0].Layers), errors.ErrUnsupported)
	}
	config, err = a.Read(ctx, s, images[0].Config, maxBaseDocument)
	return images[0].Layers, config, err
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
