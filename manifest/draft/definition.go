// Package draft decides the layers of an image: it makes a draft of a definition.
//
// It owns the definitions, their kinds ([Package], [File], [Conf], [Archive], [Layout]) and the layers of each kind. It must not
// know the names of images in requests, or how images are recorded and served.
//
//	d := &draft.Definition{Title: "hello", Kind: &draft.Package{Contents: paths}}
//	objects, err := d.Objects(ctx, env)
//	image, err := d.Draft(ctx, env, objects)
//	finished, config, err := image.Finish(ctx, env.Layers, layer.Gzip, func() {}) // hashes the layers
package draft

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/nixreg/nixreg/manifest/dockertools"
	"github.com/nixreg/nixreg/manifest/fault"
	"github.com/nixreg/nixreg/manifest/imagefile"
	"github.com/nixreg/nixreg/manifest/layer"
	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/hostfile"
)

// Env has the stores and functions for drafts. Safe for concurrent use; the fields must not change during use.
type Env struct {
	// Store has the paths of all stores, those of Host included.
	Store store.Store
	// Host makes store paths of files outside of the stores.
	Host *hostfile.Store
	// Layers opens archives.
	Layers *layer.Maker
	// Pull fetches a base image from a registry for one platform, as a docker-archive, and returns the absolute name of the file.
	// nil refuses such images.
	Pull func(ctx context.Context, name string, platform v1.Platform) (file string, err error)
	// WholeNames makes errors name a definition file with its directory. It is false if clients read the errors.
	WholeNames bool
}

// Placed adds the position of a definition to err, unless err has one.
func (e *Env) Placed(at imagefile.Position, err error) error {
	if !e.WholeNames {
		at.File = filepath.Base(at.File)
	}
	return fault.Place(at.String(), err)
}

// Definition describes the parts of one image for one platform. Equal definitions with equal store contents give equal images,
// under every name.
type Definition struct {
	Title, Version string
	Kind           Kind
	// At is the position of the definition in a file, for messages only; zero if it is in no file.
	At imagefile.Position
	// Moving says that the definition for the name may change while the state of providers and stores stays the same. That is so
	// for a builder, whose source can change.
	Moving bool
	// MainProgram is meta.mainProgram of a package, if a channel or a build told it. It is for messages only: the image does not
	// depend on it.
	MainProgram string
}

// Kind is one of the kinds of definitions. A kind is never changed once the definition is in use.
type Kind interface {
	// Architecture returns the architecture of the image as a GOARCH value; "" if it is not known before the image is made.
	Architecture() string
	// OfFile reports whether a file describes the image: errors about the image may quote the file.
	OfFile() bool
	// Archive returns the name:tag in a docker-archive of the image, "" for none, and the time of its members in Unix seconds. ok is
	// false for an image that was not made by nixreg.
	Archive() (repoTag string, mtime int64, ok bool)
	// Roots returns store paths whose closures have all files of the image. The order is not defined. A path may occur twice, and ""
	// must be ignored.
	Roots(ctx context.Context, e *Env) []store.Path

	// identify sets the fields that differ between definitions of the kind.
	identify(*identity)
	// objects returns the store paths that the image is made from, sorted. The base image of a File comes last.
	objects(ctx context.Context, e *Env) ([]*store.Object, error)
	// draft decides the layers.
	draft(ctx context.Context, e *Env, objects []*store.Object) (*Image, error)
}

// identity has all fields that may differ between two definitions. Fields that were added later are omitted if they are empty, so
// that the keys of older records stay the same.
type identity struct {
	Title, Version, Program string
	Contents                []store.Path
	Source                  []byte
	Args                    *dockertools.Args    `json:",omitempty"`
	Root                    []imagefile.RootPart `json:",omitempty"`
	Format                  Format               `json:",omitempty"`
	Layering                imagefile.Layering   `json:",omitempty"`
}

// Key returns a hash that differs between definitions.
func (d *Definition) Key() string {
	id := identity{Title: d.Title, Version: d.Version}
	d.Kind.identify(&id)
	return keyOf(id)
}

// imageFormat is part of the key of each image. A change to what is made of a definition changes it, so that no image of an earlier
// version is taken for the one of today.
const imageFormat = "image2"

// ImageKey identifies an image before it is made. It is a hash of the definition, the encoding, and the contents and references of
// the store paths.
func (d *Definition) ImageKey(encoding layer.Encoding, objects []*store.Object) string {
	type part struct {
		layer.Ref
		NarSize    int64
		References []store.Path
	}
	parts := make([]part, len(objects))
	for i, o := range objects {
		parts[i] = part{layer.RefOf(o), o.NarSize, o.References}
	}
	return keyOf(struct {
		Format, Definition string
		Encoding           layer.Encoding
		Objects            []part
	}{imageFormat, d.Key(), encoding, parts})
}

func keyOf(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic("draft: key cannot be encoded: " + err.Error()) // impossible for strings, bytes and JSON that was parsed
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// Objects returns the store paths that the image is made from. An absent path gives an error matching [fs.ErrNotExist].
func (d *Definition) Objects(ctx context.Context, e *Env) ([]*store.Object, error) {
	objects, err := d.Kind.objects(ctx, e)
	return objects, d.placed(e, err)
}

// Draft decides the layers of the image, which is made from objects. It hashes no layer.
func (d *Definition) Draft(ctx context.Context, e *Env, objects []*store.Object) (*Image, error) {
	b, err := d.Kind.draft(ctx, e, objects)
	if err != nil {
		return nil, d.placed(e, err)
	}
	b.image.Title, b.image.Version = d.Title, d.Version
	return b, nil
}

// placed adds the position of a definition that stands in a file.
func (d *Definition) placed(e *Env, err error) error {
	if err == nil || d.At == (imagefile.Position{}) {
		return err
	}
	return e.Placed(d.At, err)
}
