package manifest

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/nixreg/nixreg/internal/oci"
	"github.com/nixreg/nixreg/manifest/dockertools"
	"github.com/nixreg/nixreg/manifest/fault"
	"github.com/nixreg/nixreg/manifest/layer"
	"github.com/nixreg/nixreg/manifest/program"
	"github.com/nixreg/nixreg/store"
)

// Base is an image that another one is built upon.
type Base struct {
	Config []byte // its config document, of which Env and architecture count
	Layers []BaseLayer
}

// BaseLayer is one layer of a base image, bottom first.
type BaseLayer struct {
	Recipe layer.Recipe
	Name   string  // as history names it: of a docker-archive the member's name
	DiffID v1.Hash // that the recipe's bytes must have
	Size   int64   // about how many bytes there are to hash
}

// openBase reads the image in a store path: the first one of a docker-archive, or that of an OCI layout, of several the
// one for an architecture.
func openBase(ctx context.Context, m *layer.Maker, o *store.Object, arch string) (*Base, error) {
	if layout, err := isLayout(ctx, m.Store, o.Path, ""); err != nil {
		return nil, err
	} else if layout {
		return layoutBase(ctx, m, o, arch)
	}
	a, err := m.Archive(ctx, o, "")
	if err != nil {
		return nil, err
	}
	images, err := archiveImages(ctx, a)
	if err != nil {
		return nil, fmt.Errorf("archive %s: %w", o.Path, err)
	}
	base, err := images[0].open(ctx, a)
	if err != nil {
		return nil, fmt.Errorf("archive %s: %w", o.Path, err)
	}
	return base, nil
}

// dockerTransport starts the name of a base image that a registry has.
const dockerTransport = "docker://"

// baseObject returns the object that a definition's base image is in, nil if there is none. One of a registry is
// fetched for it.
func (s *Source) baseObject(ctx context.Context, d *Definition, closure []*store.Object) (*store.Object, error) {
	switch args := d.Args; {
	case args.Base == "":
		return nil, nil
	case !strings.HasPrefix(args.Base, dockerTransport):
		p, err := dockertools.StorePath(args.Base)
		if err != nil {
			return nil, err
		}
		return s.store.Object(ctx, p)
	case s.pull == nil:
		return nil, fmt.Errorf("%s: images of registries are not fetched here: %w", args.Base, errors.ErrUnsupported)
	}
	arch, err := s.definitionArchitecture(ctx, d, closure)
	if err != nil {
		return nil, err
	}
	file, err := s.pull(ctx, d.Args.Base, v1.Platform{OS: "linux", Architecture: cmp.Or(arch, program.DefaultArchitecture), Variant: d.Args.Variant})
	if err != nil {
		return nil, fault.Phrase(err, "its base image cannot be fetched")
	}
	p, err := s.host.Add(file)
	if err != nil {
		return nil, err
	}
	return s.host.Object(ctx, p)
}

// base opens the image that args build upon, nil if there is none. Of the objects of the image the last is the base's.
func (s *Source) base(ctx context.Context, args *dockertools.Args, objects []*store.Object) (*Base, error) {
	if args.Base == "" {
		return nil, nil
	}
	return openBase(ctx, s.layers, objects[len(objects)-1], cmp.Or(args.Architecture, program.DefaultArchitecture))
}

// architecture is that of the image's config, "" if it has none.
func (b *Base) architecture() string {
	var doc struct {
		Architecture string `json:"architecture"`
	}
	if json.Unmarshal(b.Config, &doc) != nil || !oci.IsPlatformWord(doc.Architecture) {
		return ""
	}
	return doc.Architecture
}

// addBase puts the base's layers below all others. Of its config, Env alone counts.
//
// Source: stream_layered_image.py, add_base_layers and overlay_base_config.
func (b *draft) addBase(base *Base) error {
	for _, l := range base.Layers {
		b.add(draftLayer{recipe: l.Recipe, contents: []string{l.Name}, want: l.DiffID, size: l.Size})
	}
	return b.mergeBaseEnv(base.Config)
}
