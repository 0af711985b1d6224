package draft

import (
	"context"
	"encoding/json"
	"fmt"
	"path"

	"github.com/nixreg/nixreg/manifest/finished"
	"github.com/nixreg/nixreg/manifest/layer"
	"github.com/nixreg/nixreg/store"
)

// Archive is an image in a docker-archive that was not made by nixreg.
type Archive struct{ elsewhere }

// Layout is an image in an OCI layout. Its documents are served unchanged, so its draft has no layers.
type Layout struct{ elsewhere }

// Finished returns the kind of a finished image: an [Archive] or a [Layout].
func Finished(r finished.Image) Kind {
	if r.Root != nil {
		return &Layout{elsewhere{r}}
	}
	return &Archive{elsewhere{r}}
}

// elsewhere has the methods that both kinds of finished images share: nixreg did not make these images.
type elsewhere struct{ finished.Image }

func (elsewhere) Architecture() string                            { return "" }
func (elsewhere) OfFile() bool                                    { return true }
func (elsewhere) Archive() (repoTag string, mtime int64, ok bool) { return "", 0, false }

func (r elsewhere) identify(id *identity) {
	b, err := json.Marshal(r.Image)
	if err != nil {
		panic("draft: finished image cannot be encoded: " + err.Error()) // impossible for strings and numbers
	}
	id.Source = b
}

func (r elsewhere) objects(ctx context.Context, e *Env) ([]*store.Object, error) {
	o, err := e.Store.Object(ctx, r.Path)
	return []*store.Object{o}, err
}

func (r elsewhere) Roots(context.Context, *Env) []store.Path { return []store.Path{r.Path} }

// draft keeps the bytes of the config and of the layers unchanged.
func (r *Archive) draft(ctx context.Context, e *Env, objects []*store.Object) (*Image, error) {
	a, err := e.Layers.Archive(ctx, objects[0], r.File)
	if err != nil {
		return nil, err
	}
	b := new(Image)
	if err := b.read(ctx, a, r.Image.Image); err != nil {
		return nil, fmt.Errorf("archive %s: %w", path.Join(string(r.Path), r.File), err)
	}
	return b, nil
}

func (b *Image) read(ctx context.Context, a *layer.Archive, image *finished.ArchiveImage) error {
	base, err := image.Open(ctx, a)
	if err != nil {
		return err
	}
	about, err := finished.ReadConfig(base.Config)
	if err != nil {
		return err
	}
	b.document = base.Config
	b.image.OS, b.image.Ready = about.OS, true
	b.image.Command, b.image.Env = about.Command(), about.Config.Env
	b.config.Architecture, b.config.Variant = about.Architecture, about.Variant
	b.noteCommand()
	b.warnOfRefusals(about.Raw)
	for _, l := range base.Layers {
		b.layers = append(b.layers, plannedLayer{recipe: l.Recipe, contents: []string{l.Name}, want: l.DiffID, size: l.Size})
	}
	return nil
}

// draft reads the documents, and checks that the blobs exist.
func (r *Layout) draft(ctx context.Context, e *Env, objects []*store.Object) (*Image, error) {
	l, err := finished.ReadLayout(ctx, e.Layers, objects[0], &r.Image)
	if err != nil {
		return nil, err
	}
	b := new(Image)
	b.image.Warnings = l.Warnings
	return b, l.Present(ctx, e.Store, objects[0])
}
