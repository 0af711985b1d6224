package manifest

import (
	"context"
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/nixreg/nixreg/manifest/document"
	"github.com/nixreg/nixreg/manifest/draft"
	"github.com/nixreg/nixreg/manifest/layer"
	"github.com/nixreg/nixreg/manifest/packages"
)

// ArchiveNotes are the facts in the docker-archive of an image that are not in its config or layers.
type ArchiveNotes struct {
	RepoTag string // the name:tag of a conf.json, "" for other images
	MTime   int64  // of the archive's members, Unix seconds
	// Layers has the tar header of each layer's member, bottom first. It is empty for an image that was not made by nixreg. A header
	// with a Name belongs to a member of the base image's archive. That member is copied unchanged, compressed or not. Sizes are not
	// set.
	Layers []layer.Header
}

// Permissions of an archive's members. The layer of links has the permissions of its file in the Nix store.
const (
	memberMode     = 0o644
	linkMemberMode = 0o444
)

// ArchiveNotes returns the notes on the image of a repository that has this config. If the caller knows a tag of the image, no
// search is necessary; tag may be "".
//
// Source: stream_layered_image.py, add_base_layers, add_layer_dir, add_customisation_layer, main.
func (s *Source) ArchiveNotes(ctx context.Context, repository, tag string, config v1.Hash) (*ArchiveNotes, error) {
	d, m, err := s.imageWith(ctx, repository, tag, config)
	if err != nil {
		return nil, err
	}
	notes := &ArchiveNotes{MTime: 1}
	if d == nil {
		return notes, nil
	}
	notes.RepoTag, notes.MTime, _ = d.Kind.Archive()
	notes.Layers, err = s.memberHeaders(ctx, m, notes.MTime)
	return notes, err
}

// imageWith returns the image that has a config, and its definition. Both are nil if none of the repository's newest images has the
// config, or if the image was not made by nixreg.
func (s *Source) imageWith(ctx context.Context, repository, tag string, config v1.Hash) (*draft.Definition, *document.Image, error) {
	c, err := s.catalog.Owner(ctx, repository)
	if err != nil {
		return nil, nil, err
	}
	tags := []string{tag}
	if tag == "" {
		if tags, err = c.Newest(ctx, repository, maxSearched); err != nil {
			return nil, nil, err
		}
	}
	for _, tag := range tags {
		defs, err := c.Lookup(ctx, repository, tag)
		if err != nil && !packages.IsUserError(err) {
			return nil, nil, err
		}
		for _, d := range defs {
			if _, _, ok := d.Kind.Archive(); !ok {
				continue
			}
			m, err := s.image(ctx, repository, d, document.OCI.Encoding(s.encoding), false)
			if err != nil && !packages.IsUserError(err) {
				return nil, nil, err
			}
			if err == nil && m.Config == config {
				return d, m, nil
			}
		}
	}
	return nil, nil, nil
}

// memberHeaders returns the tar headers of the layers' members.
func (s *Source) memberHeaders(ctx context.Context, m *document.Image, mtime int64) ([]layer.Header, error) {
	headers := make([]layer.Header, len(m.Layers))
	for i, l := range m.Layers {
		headers[i] = layer.Header{Mode: memberMode, MTime: mtime}
		if l.Recipe.Format == layer.Symlinks || l.Recipe.Format == layer.Verbatim && i == len(m.Layers)-1 {
			headers[i].Mode, headers[i].Uname, headers[i].Gname = linkMemberMode, layer.Root.Uname, layer.Root.Gname
		}
	}
	return headers, s.baseHeaders(ctx, m, headers)
}

// baseHeaders sets the headers of the layers that are members of the base image's archive, to their headers in that archive. A
// member that is a link there keeps only its name: the other fields describe the link, not the layer.
func (s *Source) baseHeaders(ctx context.Context, m *document.Image, headers []layer.Header) error {
	var names []string
	n := 0
	for n < len(m.Layers) && m.Layers[n].Recipe.Format == layer.Member {
		names = append(names, m.Layers[n].Contents[0])
		n++
	}
	if n == 0 {
		return nil
	}
	r := m.Layers[0].Recipe
	o, err := s.store.Object(ctx, r.Objects[0].Path)
	if err != nil {
		return fmt.Errorf("base image: %w", err)
	}
	a, err := s.env.Layers.Archive(ctx, o, r.File)
	if err != nil {
		return fmt.Errorf("base image: %w", err)
	}
	found, err := a.Headers(ctx, names)
	if err != nil {
		return fmt.Errorf("base image: %w", err)
	}
	for i, h := range found {
		if h.Name != "" {
			headers[i] = h
		}
		headers[i].Name, headers[i].Size = names[i], 0
	}
	return nil
}
