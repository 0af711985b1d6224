package manifest

import (
	"context"
	"fmt"
	"path"

	"github.com/nixreg/nixreg/manifest/finished"
	"github.com/nixreg/nixreg/store"
)

// draftArchive takes an image of a docker-archive as it is: its config stays byte for byte, and so do its layers.
func (s *Source) draftArchive(ctx context.Context, r *finished.Image, o *store.Object) (*draft, error) {
	a, err := s.layers.Archive(ctx, o, r.File)
	if err != nil {
		return nil, err
	}
	base, err := r.Image.Open(ctx, a)
	if err != nil {
		return nil, fmt.Errorf("archive %s: %w", path.Join(string(o.Path), r.File), err)
	}
	b, err := draftReady(base.Config)
	if err != nil {
		return nil, fmt.Errorf("archive %s: %w", path.Join(string(o.Path), r.File), err)
	}
	for _, l := range base.Layers {
		b.layers = append(b.layers, draftLayer{recipe: l.Recipe, contents: []string{l.Name}, want: l.DiffID, size: l.Size})
	}
	return b, nil
}

// draftReady is an image with a config that is not to be touched.
func draftReady(config []byte) (*draft, error) {
	about, err := finished.ReadConfig(config)
	if err != nil {
		return nil, err
	}
	b := &draft{document: config}
	b.image.OS, b.image.Ready = about.OS, true
	b.image.Command, b.image.Env = about.Command(), about.Config.Env
	b.config.Architecture, b.config.Variant = about.Architecture, about.Variant
	if len(b.image.Command) == 0 {
		b.image.CommandNote = "the image's config has neither Entrypoint nor Cmd"
	}
	return b, nil
}
