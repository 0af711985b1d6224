package manifest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync/atomic"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"github.com/nixreg/nixreg/internal/flight"
	"github.com/nixreg/nixreg/manifest/document"
	"github.com/nixreg/nixreg/manifest/draft"
	"github.com/nixreg/nixreg/manifest/fault"
	"github.com/nixreg/nixreg/manifest/finished"
	"github.com/nixreg/nixreg/manifest/layer"
	"github.com/nixreg/nixreg/store"
)

const (
	// maxBuilding bounds how many images are made at the same time.
	maxBuilding = 16
	// maxVerifying bounds how many blobs of one layout wait to be hashed.
	maxVerifying = 64
	// progressEvery is how often a long making of an image is reported.
	progressEvery = 5 * time.Second
)

// publisher makes images of definitions, and records that repositories have them.
type publisher struct {
	holdings
	encoding  layer.Encoding
	attachers []*attacher
	group     *flight.Group
	building  *flight.Queue
	hashed    atomic.Int64
	// noteRefused gets the keys of configs that clients refuse, for each repository that is published.
	noteRefused func(repository string, keys []string)
}

// publication is what a repository has for a tag: images of several platforms, whose layers are encoded alike, in the
// dialects that such layers are served in; or an OCI layout with the documents that it has.
type publication struct {
	images   []*document.Image
	dialects []*document.Dialect
	layout   *finished.Layout // nil for images
}

// publish makes the images of definitions in dialects of one encoding, and records that the repository has them. With fresh
// it makes and records them in any case, from remembered layers.
func (p *publisher) publish(ctx context.Context, repository string, defs []*draft.Definition, dialects []*document.Dialect, fresh bool) (*publication, error) {
	encoding := dialects[0].Encoding(p.encoding)
	out := &publication{images: make([]*document.Image, len(defs)), dialects: dialects}
	g, within := errgroup.WithContext(ctx)
	for i, d := range defs {
		g.Go(flight.Guarded(func() (err error) {
			if kind, ok := d.Kind.(*draft.Layout); ok {
				out.layout, err = p.layout(within, repository, d, kind, fresh)
			} else {
				out.images[i], err = p.image(within, repository, d, encoding, fresh)
			}
			if d.Kind.OfFile() {
				return fault.ConcealAll(repository, err)
			}
			return fault.Conceal(repository, err)
		}))
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	if out.layout != nil {
		out.images = nil
	}
	p.noteRefused(repository, out.refused())
	err := p.records.publish(ctx, repository, out.links(), fresh)
	if errors.Is(err, errLostDocument) && !fresh {
		return p.publish(ctx, repository, defs, dialects, true) // which reads the layout again
	}
	return out, err
}

// refused returns the keys of configs that clients refuse.
func (p *publication) refused() (keys []string) {
	if p.layout != nil {
		return p.layout.Refused
	}
	for _, m := range p.images {
		keys = append(keys, m.Refused...)
	}
	return keys
}

// made returns what is remembered under a key, unless fresh is set; or it makes it, once for all who ask, in a slot of
// building.
func made[T any](ctx context.Context, p *publisher, key string, fresh bool, remembered func(context.Context) (T, bool), make func(context.Context) (T, error)) (T, error) {
	return flight.Once(ctx, p.group, fmt.Sprint(key, fresh), func(ctx context.Context) (none T, err error) {
		if !fresh {
			if v, ok := remembered(ctx); ok {
				return v, nil
			}
		}
		release, err := p.building.Acquire(ctx)
		if err != nil {
			return none, err
		}
		defer release()
		return make(ctx)
	})
}

// image returns the image of a definition. What the image is made of is held before it is read.
func (p *publisher) image(ctx context.Context, repository string, d *draft.Definition, encoding layer.Encoding, fresh bool) (*document.Image, error) {
	if err := p.hold(ctx, d); err != nil {
		return nil, err
	}
	objects, err := d.Objects(ctx, p.env)
	if err != nil {
		return nil, err
	}
	key := d.ImageKey(encoding, objects)
	return made(ctx, p, "image/"+key, fresh, func(ctx context.Context) (*document.Image, bool) {
		m, err := p.records.image(ctx, key)
		return m, err == nil && p.intact(ctx, m)
	}, func(ctx context.Context) (*document.Image, error) {
		return store.Steady(func() (*document.Image, error) { return p.build(ctx, repository, key, d, encoding, objects) })
	})
}

// intact reports whether everything that a remembered image names is remembered as it names it. A layer is not, if its
// files were damaged when it was hashed and have been repaired since.
func (p *publisher) intact(ctx context.Context, m *document.Image) bool {
	if !p.records.hasBytes(ctx, m.Config) {
		return false
	}
	for _, l := range m.Layers {
		if _, err := p.records.stored(ctx, l.Digest); err != nil || !p.env.Layers.Remembers(ctx, l.Recipe, l.Digest) {
			return false
		}
	}
	return true
}

func (p *publisher) build(ctx context.Context, repository, key string, d *draft.Definition, encoding layer.Encoding, objects []*store.Object) (*document.Image, error) {
	started := time.Now()
	planned, err := d.Draft(ctx, p.env, objects)
	if err != nil {
		return nil, err
	}
	report := p.reportProgress(repository, planned.Layers())
	defer report.stop()
	flight.Progress(ctx, report.String)
	m, config, err := planned.Finish(ctx, p.env.Layers, encoding, report.done)
	if err != nil {
		return nil, err
	}
	m.Key = key
	if p.holder != nil {
		m.Definition, m.Roots = d.Key(), p.roots(ctx, d)
	}
	if err := p.records.putImage(ctx, m, config); err != nil {
		return nil, err
	}
	p.warn(repository, m.Warnings)
	if m.CommandNote != "" {
		p.log.Warn("image has no command: name a program after it, as in docker run IMAGE PROGRAM", "image", repository, "why", m.CommandNote)
	}
	p.log.Info("image made", "image", repository, "architecture", m.Architecture, "layers", len(m.Layers),
		"config", m.Config.String(), "took", time.Since(started).Round(time.Millisecond).String())
	return m, nil
}

func (p *publisher) warn(repository string, warnings []string) {
	for _, w := range warnings {
		p.log.Warn("image has a fault", "image", repository, "warning", w)
	}
}

// layout returns what an image of an OCI layout consists of, with every digest verified.
func (p *publisher) layout(ctx context.Context, repository string, d *draft.Definition, kind *draft.Layout, fresh bool) (*finished.Layout, error) {
	if err := p.hold(ctx, d); err != nil {
		return nil, err
	}
	objects, err := d.Objects(ctx, p.env)
	if err != nil {
		return nil, err
	}
	key := "layout/" + d.Key() + "/" + objects[0].NarHash.String()
	l, err := made(ctx, p, key, fresh, func(ctx context.Context) (*finished.Layout, bool) {
		l := new(finished.Layout)
		if err := p.records.get(ctx, key, l); err != nil || len(l.Documents) == 0 {
			return nil, false
		}
		for _, b := range l.Blobs {
			if !p.env.Layers.Remembers(ctx, b.Recipe, b.Digest) {
				return nil, false
			}
		}
		return l, true
	}, func(ctx context.Context) (*finished.Layout, error) {
		l, err := finished.ReadLayout(ctx, p.env.Layers, objects[0], &kind.Image)
		if err != nil {
			return nil, err
		}
		p.warn(repository, l.Warnings)
		if err := p.verify(ctx, l); err != nil {
			return nil, err
		}
		return l, p.records.put(ctx, key, l)
	})
	if err != nil {
		return nil, fmt.Errorf("layout %s: %w", kind.Path, err)
	}
	return l, nil
}

// verify hashes the blobs of a layout, and pins their recipes to the compression that they have.
func (p *publisher) verify(ctx context.Context, l *finished.Layout) (err error) {
	for i := range l.Blobs {
		if l.Blobs[i].Recipe, err = p.env.Layers.Pinned(ctx, l.Blobs[i].Recipe); err != nil {
			return err
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(maxVerifying)
	for _, b := range l.Blobs {
		g.Go(flight.Guarded(func() error {
			info, err := p.env.Layers.Describe(ctx, b.Recipe)
			if err == nil && (info.Digest != b.Digest || info.Size != b.Size) {
				err = fmt.Errorf("blob %s has the bytes of %s (%d, not %d): %w", b.Digest, info.Digest, info.Size, b.Size, fs.ErrInvalid)
			}
			return err
		}))
	}
	return g.Wait()
}

// dialectsLike are the dialects that serve layers in the same encoding as d does: their images are the same.
func (p *publisher) dialectsLike(d *document.Dialect) []*document.Dialect {
	for _, group := range p.served() {
		if slices.Contains(group, d) {
			return group
		}
	}
	return nil
}

// served are all dialects, those with one encoding together.
func (p *publisher) served() [][]*document.Dialect {
	if document.OCI.Encoding(p.encoding) == document.Docker.Encoding(p.encoding) {
		return [][]*document.Dialect{{document.OCI, document.Docker}}
	}
	return [][]*document.Dialect{{document.OCI}, {document.Docker}}
}

// in reports whether a dialect has media types for all of the images.
func (p *publication) in(d *document.Dialect) bool {
	return !slices.ContainsFunc(p.images, func(m *document.Image) bool { return !m.In(d) })
}

// manifests are those of one image.
func (p *publication) manifests(m *document.Image) []*v1.Descriptor {
	var out []*v1.Descriptor
	for _, d := range p.dialects {
		if m.In(d) {
			out = append(out, m.Manifest(d))
		}
	}
	return out
}

// links are all blobs and documents, each after those that it names.
func (p *publication) links() []link {
	var out []link
	for _, m := range p.images {
		for _, l := range m.Layers {
			out = append(out, blobLink(l.Digest, &l.Recipe))
		}
		out = append(out, blobLink(m.Config, nil))
		for _, d := range p.manifests(m) {
			out = append(out, link{digest: d.Digest, document: d, image: m.Key})
		}
	}
	for _, d := range p.dialects {
		if len(p.images) > 1 && p.in(d) { // there is no index of a single image
			index := document.Index(d, p.images)
			out = append(out, link{digest: index.Digest, document: index})
		}
	}
	if p.layout == nil {
		return out
	}
	for _, b := range p.layout.Blobs {
		out = append(out, blobLink(b.Digest, &b.Recipe))
	}
	for i := range p.layout.Documents {
		d := p.layout.Documents[i].Descriptor()
		out = append(out, link{digest: d.Digest, value: []byte(foundLink), document: d})
	}
	return out
}

// progress is how far the making of one image is. A first pull may take minutes, and somebody watches.
type progress struct {
	layers  int
	hashed  atomic.Int64 // layers that are done
	over    chan struct{}
	stopped chan struct{}
}

// reportProgress logs the progress now and then, until stop.
func (p *publisher) reportProgress(repository string, layers int) *progress {
	r := &progress{layers: layers, over: make(chan struct{}), stopped: make(chan struct{})}
	start := p.hashed.Load()
	go func() {
		defer close(r.stopped)
		tick := time.NewTicker(progressEvery)
		defer tick.Stop()
		for {
			select {
			case <-r.over:
				return
			case <-tick.C:
				p.log.Info("hashing layers", "image", repository, "done", r.hashed.Load(), "of", r.layers,
					"hashed_mb", (p.hashed.Load()-start)>>20)
			}
		}
	}()
	return r
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
