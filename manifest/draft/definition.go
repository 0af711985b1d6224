// Package draft decides what the layers of an image are: it makes drafts of definitions.
//
// It owns the definitions, their kinds ([Package], [File], [Conf], [Archive], [Layout]) and the layers that each kind
// leads to. It must not know the names under which images are asked for, nor how images are recorded and served.
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

// Env is what drafts are made with. Safe for concurrent use; the fields must not change meanwhile.
type Env struct {
	// Store has the paths of all stores, those of Host included.
	Store store.Store
	// Host makes store paths of files outside of the stores.
	Host *hostfile.Store
	// Layers opens archives.
	Layers *layer.Maker
	// Pull fetches a base image of a registry for one platform, as a docker-archive, and returns the absolute name of the
	// file. nil refuses such images.
	Pull func(ctx context.Context, name string, platform v1.Platform) (file string, err error)
	// WholeNames lets errors tell where a definition file is. Clients need not know.
	WholeNames bool
}

// Placed adds the position of a definition to err, unless err has one.
func (e *Env) Placed(at imagefile.Position, err error) error {
	if !e.WholeNames {
		at.File = filepath.Base(at.File)
	}
	return fault.Place(at.String(), err)
}

// Definition says what one image, for one platform, is made of. Equal definitions and equal store contents give equal
// images, whatever name they were asked for by.
type Definition struct {
	Title, Version string
	Kind           Kind
	// At is where the definition stands, for messages alone; zero where no definition file has it.
	At imagefile.Position
	// Moving is set where something else than the state of providers and stores may change what the name means: a builder,
	// whose source moves.
	Moving bool
}

// Kind is one of the kinds of definitions. A kind is never changed once the definition is in use.
type Kind interface {
	// Architecture is that of the image in GOARCH's words, "" where it is not known before the image is made.
	Architecture() string
	// OfFile reports whether a file describes the image: errors about the image may quote the file.
	OfFile() bool
	// Archive returns the name:tag in a docker-archive of the image, "" for none, and the time of its members in Unix
	// seconds. ok is false for an image that was made elsewhere.
	Archive() (repoTag string, mtime int64, ok bool)
	// Roots returns store paths whose closures have everything that the image is made of, in any order and repeated; ""
	// counts for nothing.
	Roots(ctx context.Context, e *Env) []store.Path

	// identify sets what tells definitions of the kind apart.
	identify(*identity)
	// objects returns the store paths that the image is made from, sorted. The base image of a File comes last.
	objects(ctx context.Context, e *Env) ([]*store.Object, error)
	// draft decides the layers.
	draft(ctx context.Context, e *Env, objects []*store.Object) (*Image, error)
}

// identity is what tells definitions apart. What was added later is left out if it is empty: keys of older records stay.
type identity struct {
	Title, Version, Program string
	Contents                []store.Path
	Source                  []byte
	Args                    *dockertools.Args    `json:",omitempty"`
	Root                    []imagefile.RootPart `json:",omitempty"`
}

// Key tells definitions apart.
func (d *Definition) Key() string {
	id := identity{Title: d.Title, Version: d.Version}
	d.Kind.identify(&id)
	return keyOf(id)
}

// imageFormat is part of the key of each image. A change to the documents of images changes it.
const imageFormat = "image1"

// ImageKey is the identity of an image before it is made: its definition, its encoding, and the contents and references of
// its store paths.
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
		panic("draft: key cannot be encoded: " + err.Error()) // strings, bytes and JSON that was parsed always can
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
