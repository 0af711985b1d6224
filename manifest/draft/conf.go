package draft

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

// Conf is an image whose layers nixpkgs' streamLayeredImage has planned.
type Conf struct {
	*dockertools.Conf
	Source []byte // the text of the conf.json
	// Origin is the store path from which the conf.json was read, or the store path of the script that names it; "" for none.
	Origin store.Path
}

func (c *Conf) Architecture() string { return c.Conf.Architecture }
func (c *Conf) OfFile() bool         { return true }
func (c *Conf) Archive() (repoTag string, mtime int64, ok bool) {
	return c.Name + ":" + c.Tag, c.MTime, true
}
func (c *Conf) identify(id *identity) { id.Source = c.Source }

func (c *Conf) paths() []store.Path {
	paths := append(slices.Concat(c.StoreLayers...), c.Customisation)
	if c.FromImage != "" {
		paths = append(paths, c.FromImage)
	}
	return paths
}

func (c *Conf) objects(ctx context.Context, e *Env) ([]*store.Object, error) {
	objects, err := store.Objects(ctx, e.Store, c.paths()...)
	if err != nil {
		return nil, fmt.Errorf("conf.json names a path: %w", err)
	}
	return objects, nil
}

func (c *Conf) Roots(context.Context, *Env) []store.Path { return append(c.paths(), c.Origin) }

// draft lays out the image as stream_layered_image.py does: the layers of the base image, the store layers, the
// customisation layer.
func (c *Conf) draft(ctx context.Context, e *Env, objects []*store.Object) (*Image, error) {
	byPath := objectsByPath(objects)
	b := &Image{image: document.Image{Warnings: slices.Clone(c.Warnings)}}
	b.config = document.Config{Created: c.Created, Architecture: c.Conf.Architecture, Variant: c.Variant, Config: c.Config}
	if c.FromImage != "" {
		base, err := finished.OpenBase(ctx, e.Layers, byPath[c.FromImage], c.Conf.Architecture)
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
	if err := b.addCustomisation(ctx, e.Store, byPath[c.Customisation]); err != nil {
		return nil, fmt.Errorf("customisation_layer: %w", err)
	}
	b.describeCommand()
	b.warnOfKeys(nil)
	b.warnOfRefusals(b.config.Config.Compact())
	return b, nil
}

func (b *Image) addCustomisation(ctx context.Context, s store.Store, o *store.Object) error {
	sum, err := store.ReadFile(ctx, s, o.Path, "checksum", 1024)
	if err != nil {
		return err
	}
	want, err := v1.NewHash("sha256:" + strings.TrimSpace(string(sum)))
	if err != nil {
		return fmt.Errorf("%s/checksum: %w: %w", o.Path, err, fs.ErrInvalid)
	}
	b.add(plannedLayer{
		recipe:   layer.Recipe{Format: layer.Verbatim, Objects: []layer.Ref{layer.RefOf(o)}, File: "layer.tar"},
		contents: []string{o.Path.Abs()},
		want:     want,
		size:     o.NarSize,
	})
	return nil
}
