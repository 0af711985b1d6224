package manifest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"github.com/nixreg/nixreg/manifest/draft"
	"io/fs"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sync/errgroup"

	"github.com/nixreg/nixreg/internal/flight"
	"github.com/nixreg/nixreg/manifest/fault"
	"github.com/nixreg/nixreg/manifest/finished"
	"github.com/nixreg/nixreg/manifest/layer"
)

// maxVerifying bounds how many blobs of one layout wait to be hashed.
const maxVerifying = 64

// layout makes known what an image of an OCI layout consists of, and that a repository has it, once every digest was
// verified. With fresh it does so in any case.
func (s *Source) layout(ctx context.Context, repository string, d *draft.Definition, fresh bool) (*finished.Layout, error) {
	image := &d.Kind.(*draft.Layout).Image
	if err := s.hold(ctx, d); err != nil {
		return nil, fault.ConcealAll(repository, err)
	}
	o, err := s.store.Object(ctx, image.Path)
	if err != nil {
		return nil, fault.ConcealAll(repository, err)
	}
	key := "layout/" + d.Key() + "/" + o.NarHash.String()
	l, err := flight.Once(ctx, s.group, fmt.Sprint(key, fresh, repository), func(ctx context.Context) (*finished.Layout, error) {
		l := new(finished.Layout)
		if err := s.records.get(ctx, key, l); err == nil && !fresh && s.publishedLayout(ctx, repository, l) {
			return l, nil
		}
		release, err := s.building.Acquire(ctx)
		if err != nil {
			return nil, err
		}
		defer release()
		l, err = finished.ReadLayout(ctx, s.store, o, image)
		if err != nil {
			return nil, err
		}
		for _, w := range l.Warnings {
			s.log.Warn("image has a fault", "image", repository, "warning", w)
		}
		for i := range l.Blobs {
			if l.Blobs[i].Recipe, err = s.layers.Pinned(ctx, l.Blobs[i].Recipe); err != nil {
				return nil, err
			}
		}
		if err := s.verifyLayout(ctx, l); err != nil {
			return nil, err
		}
		return l, s.publishLayout(ctx, repository, key, l)
	})
	if err != nil {
		return nil, fault.ConcealAll(repository, fmt.Errorf("layout %s: %w", image.Path, err))
	}
	return l, nil
}

// verifyLayout hashes the blobs.
func (s *Source) verifyLayout(ctx context.Context, l *finished.Layout) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(maxVerifying)
	for _, b := range l.Blobs {
		g.Go(flight.Guarded(func() error {
			info, err := s.layers.Describe(ctx, b.Recipe)
			if err == nil && (info.Digest != b.Digest || info.Size != b.Size) {
				err = fmt.Errorf("blob %s has the bytes of %s (%d, not %d): %w", b.Digest, info.Digest, info.Size, b.Size, fs.ErrInvalid)
			}
			return err
		}))
	}
	return g.Wait()
}

// publishLayout records what a repository has, and last that it is complete.
func (s *Source) publishLayout(ctx context.Context, repository, key string, l *finished.Layout) error {
	for _, b := range l.Blobs {
		if err := s.records.put(ctx, linkKey(repository, b.Digest), blobRecord{Recipe: &b.Recipe}); err != nil {
			return err
		}
	}
	for i := range l.Documents {
		if err := s.records.putFound(ctx, repository, l.Documents[i].Descriptor()); err != nil {
			return err
		}
	}
	return s.records.put(ctx, key, l)
}

// publishedLayout reports whether a repository has all of this: records can be lost one by one.
func (s *Source) publishedLayout(ctx context.Context, repository string, l *finished.Layout) bool {
	for _, d := range l.Documents {
		if _, err := s.records.document(ctx, repository, d.Digest); err != nil {
			return false
		}
	}
	for _, b := range l.Blobs {
		record, err := s.records.blob(ctx, repository, b.Digest)
		if err != nil || record.Recipe == nil || !s.layers.Remembers(ctx, *record.Recipe, b.Digest) {
			return false
		}
	}
	return len(l.Documents) > 0
}

// layoutReports describes the images of an OCI layout, one for each platform.
func (s *Source) layoutReports(ctx context.Context, repository, tag string, d *draft.Definition) ([]*Report, error) {
	l, err := s.layout(ctx, repository, d, false)
	if err != nil {
		return nil, err
	}
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

// layoutConfig reads a config; an artifact's, which is none, says nothing.
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
	l, err := s.layers.Open(ctx, r, digest)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = l.WriteRange(ctx, &b, 0, l.Size())
	return b.Bytes(), err
}
