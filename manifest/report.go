package manifest

import (
	"context"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/nixreg/nixreg/manifest/document"
)

// Report describes one image as `nixreg inspect` shows it.
type Report struct {
	Repository     string          `json:"repository"`
	Tag            string          `json:"tag"`
	Title          string          `json:"title"`
	Version        string          `json:"version,omitempty"`
	OS             string          `json:"os"`
	Architecture   string          `json:"architecture"`
	Variant        string          `json:"variant,omitempty"`
	Manifest       v1.Hash         `json:"manifest"`                // OCI
	DockerManifest v1.Hash         `json:"dockerManifest,omitzero"` // of an image that Docker's types can describe
	MediaType      types.MediaType `json:"mediaType"`
	Config         v1.Hash         `json:"config"`
	Size           int64           `json:"size"` // of all layers, in bytes
	Command        []string        `json:"command"`
	CommandNote    string          `json:"commandNote,omitempty"`
	Env            []string        `json:"env"`
	Layers         []ReportLayer   `json:"layers"`
	Warnings       []string        `json:"warnings,omitempty"`
}

// ReportLayer is one layer, bottom first.
type ReportLayer struct {
	MediaType types.MediaType `json:"mediaType"`
	Digest    v1.Hash         `json:"digest"`
	Size      int64           `json:"size"`
	Contents  []string        `json:"contents"`
}

// Inspect makes the images of a tag, one for each platform, and describes them.
func (s *Source) Inspect(ctx context.Context, repository, tag string) ([]*Report, error) {
	defs, err := s.catalog.Lookup(ctx, repository, tag)
	if err != nil {
		return nil, err
	}
	if isLayout(defs) {
		return s.layoutReports(ctx, repository, tag, defs[0])
	}
	p, err := s.make(ctx, repository, defs, s.dialectsLike(document.OCI), false)
	if err != nil {
		return nil, err
	}
	forDocker, err := s.make(ctx, repository, defs, s.dialectsLike(document.Docker), false)
	if err != nil {
		return nil, err
	}
	var out []*Report
	for i, m := range p.images {
		r := report(m)
		r.Repository, r.Tag = repository, tag
		if d := forDocker.images[i]; d.In(document.Docker) {
			r.DockerManifest = d.Manifest(document.Docker).Digest
		}
		out = append(out, r)
	}
	return out, nil
}

func report(m *document.Image) *Report {
	r := &Report{
		Title: m.Title, Version: m.Version, OS: m.OS, Architecture: m.Architecture, Variant: m.Variant,
		Manifest: m.Manifest(document.OCI).Digest, MediaType: types.OCIManifestSchema1,
		Config: m.Config, Command: m.Command, CommandNote: m.CommandNote, Env: m.Env, Warnings: m.Warnings,
	}
	for _, l := range m.Layers {
		r.Layers = append(r.Layers, ReportLayer{document.OCI.Layer(l.Recipe), l.Digest, l.Size, l.Contents})
		r.Size += l.Size
	}
	return r
}
