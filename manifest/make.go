package manifest

import (
	"context"
	"fmt"
	"github.com/nixreg/nixreg/manifest/draft"
	"sync/atomic"
	"time"

	"github.com/nixreg/nixreg/internal/flight"
	"github.com/nixreg/nixreg/manifest/document"
	"github.com/nixreg/nixreg/manifest/layer"
	"github.com/nixreg/nixreg/store"
)

// progressEvery is how often a long making of an image is reported.
const progressEvery = 5 * time.Second

// image returns the image of a definition: the remembered one, if its store paths are what they were; else it is made.
// What it is made of is held before it is read. With fresh it is made in any case, from remembered layers.
func (s *Source) image(ctx context.Context, repository string, d *draft.Definition, encoding layer.Encoding, fresh bool) (*document.Image, error) {
	if err := s.hold(ctx, d); err != nil {
		return nil, err
	}
	objects, err := d.Objects(ctx, s.env)
	if err != nil {
		return nil, err
	}
	key := d.ImageKey(encoding, objects)
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

func (s *Source) build(ctx context.Context, repository, key string, d *draft.Definition, encoding layer.Encoding, objects []*store.Object) (*document.Image, error) {
	started := time.Now()
	planned, err := d.Draft(ctx, s.env, objects)
	if err != nil {
		return nil, err
	}
	report := s.reportProgress(repository, planned.Layers())
	defer report.stop()
	flight.Progress(ctx, report.String)
	m, config, err := planned.Finish(ctx, s.layers, encoding, report.done)
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

// progress is how far the making of one image is. A first pull may take minutes, and somebody watches.
type progress struct {
	layers  int
	hashed  atomic.Int64 // layers that are done
	over    chan struct{}
	stopped chan struct{}
}

// reportProgress logs the progress now and then, until stop.
func (s *Source) reportProgress(repository string, layers int) *progress {
	p := &progress{layers: layers, over: make(chan struct{}), stopped: make(chan struct{})}
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
