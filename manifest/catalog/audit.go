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

// longestAudit bounds how long one audit of the definition files may keep a request waiting.
const longestAudit = 5 * time.Second

// unaudited returns the files whose images the next audit must check: the files that were read since the last audit, and the
// files that had faults in another state of the stores.
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

// note stores the faults that an audit found in a file, and the state of the stores at that time. It stores nothing if the file
// was read again during the audit.
func (d *definitionFiles) note(file string, of definitionFile, state string, faults []imageFault) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if f, ok := d.files[file]; ok && slices.Equal(f.images, of.images) {
		f.audited, f.state, f.faults = true, state, faults
		d.files[file] = f
	}
}

// audit checks the images of the definition files that were read. It adds base images that are local files to the store of host
// files, and finds images that cannot be served. It does not check names of packages, because packages come and go, nor faults
// that cost more to find: a client gets those errors when it asks for the image. Only one audit runs at a time. A second caller
// returns at once, and the next audit checks the files that this caller read.
func (m *images) audit(ctx context.Context) {
	if !m.auditing.TryLock() {
		return
	}
	defer m.auditing.Unlock()
	state, err := m.env.Store.State(ctx)
	if err != nil {
		return // the next call tries again
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

// auditor checks the images of one audit. It remembers which contents it found valid.
type auditor struct {
	images *images
	valid  map[string]bool
}

func (a *auditor) file(ctx context.Context, f definitionFile) []imageFault {
	var faults []imageFault
	for _, image := range f.images {
		note := func(key string, at imagefile.Position, err error) {
			if err != nil && ctx.Err() == nil && !errors.Is(err, store.ErrUnavailable) { // of an unavailable store nothing is known
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

// base checks the base image of an image, if the stores have it already.
func (a *auditor) base(ctx context.Context, image *imagefile.Image) error {
	name, err := a.images.resolver.base(image.FromImage)
	if err != nil {
		return err
	}
	p, _, err := store.ParseAbs(name)
	if err != nil || ctx.Err() != nil {
		return nil // there is no base image, or it is in a registry
	}
	if name == image.FromImage && store.IsDistant(a.images.env.Store) {
		return a.path(ctx, name) // to read its layers could mean to download it
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

// packed reports whether a base image is compressed, so that reading its list of layers means unpacking all of it.
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
	return packing != "" || err != nil, nil // if the compression is unknown, the client gets the error when it asks for the image
}

// enoughLayers returns an error if an image on top of a base image with that many layers has too many layers.
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
