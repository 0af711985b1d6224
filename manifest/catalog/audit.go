package catalog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/nixreg/nixreg/manifest/dockertools"
	"github.com/nixreg/nixreg/manifest/draft"
	"github.com/nixreg/nixreg/manifest/fault"
	"github.com/nixreg/nixreg/manifest/finished"
	"github.com/nixreg/nixreg/manifest/imagefile"
	"github.com/nixreg/nixreg/manifest/layer"
	"github.com/nixreg/nixreg/manifest/program"
	"github.com/nixreg/nixreg/store"
)

// longestAudit bounds how long a look at what definitions name may keep a request waiting.
const longestAudit = 5 * time.Second

// unaudited returns the files whose images are to be looked at: those that were read since the last time, and those that
// had faults then, as the stores are in another state now.
func (d *definitionFiles) unaudited(state string) map[string]definitionFile {
	d.mu.Lock()
	defer d.mu.Unlock()
	due := make(map[string]definitionFile)
	for file, f := range d.files {
		if f.names == nil || !f.absent.IsZero() || f.audited && (len(f.faults) == 0 || f.state == state) {
			continue
		}
		due[file] = f
	}
	return due
}

// note notes what an audit of a file found in a state of the stores, unless the file was read anew meanwhile.
func (d *definitionFiles) note(file string, of definitionFile, state string, faults []imageFault) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if f, ok := d.files[file]; ok && slices.Equal(f.images, of.images) {
		f.audited, f.state, f.faults = true, state, faults
		d.files[file] = f
	}
}

// audit looks at what was read: it makes base images known that are files, and finds images that cannot be served.
// Names of packages come and go, and other faults cost more to find: they are told when the image is asked for. While
// somebody does that, others do not: what they read is for the next look.
func (m *images) audit(ctx context.Context) {
	if !m.auditing.TryLock() {
		return
	}
	defer m.auditing.Unlock()
	state, err := m.env.Store.State(ctx)
	if err != nil {
		return // who looks next tries again
	}
	due := m.definitions.unaudited(state)
	if len(due) == 0 {
		return
	}
	within, cancel := context.WithTimeout(ctx, longestAudit)
	defer cancel()
	a := auditor{images: m, valid: make(map[string]bool)}
	for _, file := range sortedKeys(due) {
		faults := a.file(within, due[file])
		if ctx.Err() != nil {
			return
		}
		for _, f := range faults {
			if !slices.ContainsFunc(due[file].faults, f.same) {
				m.log.Warn("image cannot be served", "image", f.image.Repository(), "at", f.at.String(), "reason", f.err)
			}
		}
		m.definitions.note(file, due[file], state, faults)
	}
}

// auditor remembers which paths it found valid.
type auditor struct {
	images *images
	valid  map[string]bool
}

func (a *auditor) file(ctx context.Context, f definitionFile) []imageFault {
	var faults []imageFault
	for _, image := range f.images {
		note := func(key string, at imagefile.Position, err error) {
			if err != nil && ctx.Err() == nil && !errors.Is(err, store.ErrUnavailable) { // then nobody knows
				faults = append(faults, imageFault{image, key, at, err})
			}
		}
		if err := a.base(ctx, image); err != nil {
			note("fromImage", image.At, fmt.Errorf("fromImage: %w", err))
		}
		for _, c := range image.Contents {
			if strings.HasPrefix(c.Text, "/") {
				note("contents", c.At, a.path(ctx, c.Text))
			}
		}
		args, err := dockertools.ArgsOf(image)
		if err == nil {
			_, err = draft.MentionedPaths(ctx, a.images.env.Store, args)
		}
		note("", image.At, err)
	}
	return faults
}

func (a *auditor) path(ctx context.Context, text string) error {
	if a.valid[text] || ctx.Err() != nil {
		return nil
	}
	_, err := a.images.resolver.choices(ctx, text, "")
	a.valid[text] = err == nil
	return err
}

// base looks at a base image that is there already.
func (a *auditor) base(ctx context.Context, image *imagefile.Image) error {
	name, err := a.images.resolver.base(image.FromImage)
	if err != nil {
		return err
	}
	p, _, err := store.ParseAbs(name)
	if err != nil || ctx.Err() != nil {
		return nil // none, or one that a registry has
	}
	if name == image.FromImage && store.IsDistant(a.images.env.Store) {
		return a.path(ctx, name) // it may have to be fetched to be looked at
	}
	o, err := a.images.env.Store.Object(ctx, p)
	if err != nil {
		return err
	}
	if packed, err := a.packed(ctx, p); err != nil || packed {
		return err
	}
	base, err := finished.OpenBase(ctx, a.images.env.Layers, o, cmp.Or(image.Architecture, program.DefaultArchitecture))
	if err != nil {
		return err
	}
	return enoughLayers(image, len(base.Layers))
}

// packed reports whether a base image would have to be unpacked as a whole to be looked at.
func (a *auditor) packed(ctx context.Context, p store.Path) (bool, error) {
	at, nd, err := store.Resolve(ctx, a.images.env.Store, p.Abs())
	if err != nil || nd.Kind != store.Regular {
		return false, err
	}
	head, err := store.ReadNode(ctx, a.images.env.Store, at, nd, min(nd.Size, finished.TarBlock))
	if err != nil {
		return false, err
	}
	packing, err := layer.CompressionOf(head)
	return packing != "" || err != nil, nil // how it is packed, who asks for the image is told
}

// enoughLayers sees that an image upon a base of so many layers can be made at all.
func enoughLayers(image *imagefile.Image, base int) error {
	own, paths := 0, 0
	if len(image.Root) > 0 {
		own++
	}
	if image.IncludeStorePaths && len(image.Contents) > 0 {
		paths = 1
		if image.IncludeNixDB {
			own++
		}
		if image.MaxLayers-base-own < 2 {
			return fault.Phrase(dockertools.NoLayerLeft(image.MaxLayers, base, own), tooManyLayers)
		}
	}
	if least := base + own + paths + 1; least > dockertools.MaxRuntimeLayers {
		err := fmt.Errorf("it has %d layers, with them the image has at least %d: runtimes take no more than %d: %w", base, least, dockertools.MaxRuntimeLayers, fs.ErrInvalid)
		return fault.Phrase(err, tooManyLayers)
	}
	return nil
}

const tooManyLayers = "too many layers"
