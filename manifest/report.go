package manifest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"path"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/nixreg/nixreg/manifest/document"
	"github.com/nixreg/nixreg/manifest/finished"
	"github.com/nixreg/nixreg/manifest/layer"
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
	DockerManifest v1.Hash         `json:"dockerManifest,omitzero"` // zero if Docker has no media types for the image's layers
	MediaType      types.MediaType `json:"mediaType"`
	Config         v1.Hash         `json:"config"`
	Size           int64           `json:"size"` // of all layers, in bytes
	Command        []string        `json:"command"`
	CommandNote    string          `json:"commandNote,omitempty"`
	// MainProgram is the program that the package itself names, where that is known and the image runs another one or none.
	MainProgram string        `json:"mainProgram,omitempty"`
	Env         []string      `json:"env"`
	Layers      []ReportLayer `json:"layers"`
	Warnings    []string      `json:"warnings,omitempty"`
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
	p, err := s.publish(ctx, repository, defs, s.dialectsLike(document.OCI), false)
	if err != nil {
		return nil, err
	}
	if p.layout != nil {
		return s.layoutReports(ctx, repository, tag, p.layout)
	}
	forDocker, err := s.publish(ctx, repository, defs, s.dialectsLike(document.Docker), false)
	if err != nil {
		return nil, err
	}
	var out []*Report
	for i, m := range p.images {
		r := report(m)
		r.Repository, r.Tag = repository, tag
		if main := defs[i].MainProgram; len(m.Command) == 0 || path.Base(m.Command[0]) != main {
			r.MainProgram = main
		}
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

// layoutReports describes the images of an OCI layout, one for each platform.
func (s *Source) layoutReports(ctx context.Context, repository, tag string, l *finished.Layout) ([]*Report, error) {
	var out []*Report
	for i := range l.Documents {
		doc := &l.Documents[i]
		if !doc.IsImage() {
			continue
		}
		r, err := s.layoutReport(ctx, repository, doc)
		if err != nil {
			return nil, err
		}
		r.Repository, r.Tag, r.Warnings = repository, tag, l.Warnings
		out = append(out, r)
	}
	return out, nil
}

func (s *Source) layoutReport(ctx context.Context, repository string, doc *finished.Document) (*Report, error) {
	rec, err := s.records.document(ctx, repository, doc.Digest)
	if err != nil {
		return nil, err
	}
	var m finished.ManifestFields
	if err := json.Unmarshal(rec.Data, &m); err != nil {
		return nil, fmt.Errorf("manifest %s: %w: %w", doc.Digest, err, fs.ErrInvalid)
	}
	r := &Report{Manifest: doc.Digest, MediaType: doc.MediaType}
	about := new(finished.Config)
	if m.Config != nil {
		r.Config = m.Config.Digest
		if about, err = s.layoutConfig(ctx, repository, m.Config); err != nil {
			return nil, err
		}
	}
	r.OS, r.Architecture, r.Variant = about.OS, about.Architecture, about.Variant
	if p := doc.Platform; p != nil {
		r.OS, r.Architecture, r.Variant = p.OS, p.Architecture, p.Variant
	}
	r.Command, r.Env = about.Command(), about.Config.Env
	for _, l := range m.Layers {
		r.Layers = append(r.Layers, ReportLayer{l.MediaType, l.Digest, l.Size, nil})
		r.Size += l.Size
	}
	return r, nil
}

// layoutConfig reads the config of an image. For an artifact, which has no image config, the result is empty.
func (s *Source) layoutConfig(ctx context.Context, repository string, d *v1.Descriptor) (*finished.Config, error) {
	if d.MediaType != types.OCIConfigJSON && d.MediaType != types.DockerConfigJSON || d.Size > finished.MaxBaseDocument {
		return new(finished.Config), nil
	}
	b, err := s.records.blob(ctx, repository, d.Digest)
	if err != nil {
		return nil, err
	}
	if b.Recipe == nil {
		return finished.ReadConfig(b.Inline)
	}
	config, err := s.read(ctx, *b.Recipe, d.Digest)
	if err != nil {
		return nil, err
	}
	return finished.ReadConfig(config)
}

// read returns the bytes of a small blob.
func (s *Source) read(ctx context.Context, r layer.Recipe, digest v1.Hash) ([]byte, error) {
	l, err := s.env.Layers.Open(ctx, r, digest)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = l.WriteRange(ctx, &b, 0, l.Size())
	return b.Bytes(), err
}
