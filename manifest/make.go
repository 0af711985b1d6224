package manifest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/nixreg/nixreg/internal/flight"
	"github.com/nixreg/nixreg/manifest/catalog"
	"github.com/nixreg/nixreg/manifest/document"
	"github.com/nixreg/nixreg/manifest/layer"
	"github.com/nixreg/nixreg/store"
)

// progressEvery is how often a long making of an image is reported.
const progressEvery = 5 * time.Second

// imageFormat is part of each image's key: whatever changes the documents of images changes it too.
const imageFormat = "image1"

// image returns the image of a definition: the remembered one, if its store paths are what they were; else it is made.
// What it is made of is held before it is read. With fresh it is made in any case, from remembered layers.
func (s *Source) image(ctx context.Context, repository string, d *catalog.Definition, encoding layer.Encoding, fresh bool) (*document.Image, error) {
	if err := s.hold(ctx, d); err != nil {
		return nil, err
	}
	objects, err := s.objects(ctx, d)
	if err != nil {
		return nil, err
	}
	key := imageKey(d, encoding, objects)
	return flight.Once(ctx, s.group, fmt.Sprint("image/", key, fresh), func(ctx context.Context) (*document.Image, error) {
		if m, err := s.records.image(ctx, key); err == nil && !fresh && s.intact(ctx, m) {
			return m, nil
		}
		release, err := s.building.Acquire(ctx)
		if err != nil {
			return nil, err
		}
		defer release()
		return s.build(ctx, repository, key, d, encoding, objects)
	})
}

// intact reports whether everything that a remembered image names is remembered as it names it. A layer is not, if its
// files were damaged when it was hashed and have been repaired since.
func (s *Source) intact(ctx context.Context, m *document.Image) bool {
	if !s.records.hasBytes(ctx, m.Config) {
		return false
	}
	for _, l := range m.Layers {
		if _, err := s.records.stored(ctx, l.Digest); err != nil || !s.layers.Remembers(ctx, l.Recipe, l.Digest) {
			return false
		}
	}
	return true
}

// objects returns the store paths that an image is made from: sorted, but for the base image of a definition, which comes
// last.
func (s *Source) objects(ctx context.Context, d *catalog.Definition) ([]*store.Object, error) {
	switch {
	case d.Conf != nil:
		return confObjects(ctx, s.store, d.Conf)
	case d.Ready != nil:
		o, err := s.store.Object(ctx, d.Ready.Path)
		return []*store.Object{o}, err
	case d.Args == nil:
		return store.Closure(ctx, s.store, d.Contents...)
	}
	objects, err := s.definitionObjects(ctx, d)
	if err != nil {
		return nil, s.catalog.Placed(d.At, err)
	}
	return objects, nil
}

func (s *Source) definitionObjects(ctx context.Context, d *catalog.Definition) ([]*store.Object, error) {
	mentioned, err := catalog.MentionedPaths(ctx, s.store, d.Args)
	if err != nil {
		return nil, err
	}
	objects, err := store.Closure(ctx, s.store, slices.Concat(d.Contents, mentioned)...)
	if err != nil {
		return nil, err
	}
	base, err := s.baseObject(ctx, d, objects)
	if err != nil {
		return nil, fmt.Errorf("fromImage: %w", err)
	}
	if base != nil {
		objects = append(objects, base)
	}
	return objects, nil
}

// imageKey is the identity of an image before it is made: its definition, and what each store path holds and refers to.
func imageKey(d *catalog.Definition, encoding layer.Encoding, objects []*store.Object) string {
	type part struct {
		layer.Ref
		NarSize    int64
		References []store.Path
	}
	parts := make([]part, len(objects))
	for i, o := range objects {
		parts[i] = part{layer.RefOf(o), o.NarSize, o.References}
	}
	b, err := json.Marshal(struct {
		Format, Definition string
		Encoding           layer.Encoding
		Objects            []part
	}{imageFormat, d.Key(), encoding, parts})
	if err != nil {
		panic("manifest: image key cannot be encoded: " + err.Error()) // strings always can
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func (s *Source) build(ctx context.Context, repository, key string, d *catalog.Definition, encoding layer.Encoding, objects []*store.Object) (*document.Image, error) {
	started := time.Now()
	draft, err := s.draft(ctx, d, objects)
	if err != nil {
		return nil, err
	}
	draft.image.Title, draft.image.Version = d.Title, d.Version
	report := s.reportProgress(repository, draft)
	defer report.stop()
	flight.Progress(ctx, report.String)
	m, config, err := draft.finish(ctx, s.layers, encoding, report.done)
	if err != nil {
		return nil, err
	}
	m.Key = key
	if s.holder != nil {
		m.Definition, m.Roots = d.Key(), s.roots(ctx, d)
	}
	if err := s.records.putImage(ctx, m, config); err != nil {
		return nil, err
	}
	for _, w := range m.Warnings {
		s.log.Warn("image has a fault", "image", repository, "warning", w)
	}
	if m.CommandNote != "" {
		s.log.Warn("image has no command: name a program after it, as in docker run IMAGE PROGRAM", "image", repository, "why", m.CommandNote)
	}
	s.log.Info("image made", "image", repository, "architecture", m.Architecture, "layers", len(m.Layers),
		"config", m.Config.String(), "took", time.Since(started).Round(time.Millisecond).String())
	return m, nil
}

func (s *Source) draft(ctx context.Context, d *catalog.Definition, objects []*store.Object) (*draft, error) {
	switch {
	case d.Ready != nil:
		return s.draftArchive(ctx, d.Ready, objects[0])
	case d.Conf != nil:
		return draftConf(ctx, s.layers, d.Conf, objects)
	case d.Args != nil:
		b, err := s.draftDefinition(ctx, d, objects)
		if err != nil {
			return nil, s.catalog.Placed(d.At, err)
		}
		return b, nil
	}
	return draftPackage(ctx, s.store, d, objects)
}

// progress is how far the making of one image is. A first pull may take minutes, and somebody watches.
type progress struct {
	layers  int
	hashed  atomic.Int64 // layers that are done
	over    chan struct{}
	stopped chan struct{}
}

// reportProgress logs the progress now and then, until stop.
func (s *Source) reportProgress(repository string, d *draft) *progress {
	p := &progress{layers: len(d.layers), over: make(chan struct{}), stopped: make(chan struct{})}
	start := s.hashed.Load()
	go func() {
		defer close(p.stopped)
		tick := time.NewTicker(progressEvery)
		defer tick.Stop()
		for {
			select {
			case <-p.over:
				return
			case <-tick.C:
				s.log.Info("hashing layers", "image", repository, "done", p.hashed.Load(), "of", p.layers,
					"hashed_mb", (s.hashed.Load()-start)>>20)
			}
		}
	}()
	return p
}

func (p *progress) done() { p.hashed.Add(1) }

// String is for people.
func (p *progress) String() string {
	return fmt.Sprintf("%d of %d layers are hashed", p.hashed.Load(), p.layers)
}

// stop ends the reports.
func (p *progress) stop() {
	close(p.over)
	<-p.stopped
}
