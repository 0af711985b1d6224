package manifest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/nixreg/nixreg/manifest/catalog"
	"github.com/nixreg/nixreg/manifest/dockertools"
	"github.com/nixreg/nixreg/manifest/fault"
	"github.com/nixreg/nixreg/manifest/finished"
	"github.com/nixreg/nixreg/manifest/program"
	"github.com/nixreg/nixreg/store"
)

// baseObject returns the object that a definition's base image is in, nil if there is none. One of a registry is
// fetched for it.
func (s *Source) baseObject(ctx context.Context, d *catalog.Definition, closure []*store.Object) (*store.Object, error) {
	switch args := d.Args; {
	case args.Base == "":
		return nil, nil
	case !strings.HasPrefix(args.Base, catalog.DockerTransport):
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
func (s *Source) base(ctx context.Context, args *dockertools.Args, objects []*store.Object) (*finished.Base, error) {
	if args.Base == "" {
		return nil, nil
	}
	return finished.OpenBase(ctx, s.layers, objects[len(objects)-1], cmp.Or(args.Architecture, program.DefaultArchitecture))
}

// addBase puts the base's layers below all others. Of its config, Env alone counts.
//
// Source: stream_layered_image.py, add_base_layers and overlay_base_config.
func (b *draft) addBase(base *finished.Base) error {
	for _, l := range base.Layers {
		b.add(draftLayer{recipe: l.Recipe, contents: []string{l.Name}, want: l.DiffID, size: l.Size})
	}
	return b.mergeBaseEnv(base.Config)
}
