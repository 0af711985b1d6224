package catalog

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/nixreg/nixreg/internal/kv"
	"github.com/nixreg/nixreg/internal/lru"
	"github.com/nixreg/nixreg/manifest/draft"
	"github.com/nixreg/nixreg/manifest/imagefile"
	"github.com/nixreg/nixreg/manifest/packages"
	"github.com/nixreg/nixreg/manifest/program"
	"github.com/nixreg/nixreg/store"
)

// Builder builds what no store has. Safe for concurrent use.
type Builder interface {
	// Find returns the attribute path that a name stands for, such as python3Packages.requests for python3packages.requests.
	// The name is one component of a repository's. Find builds nothing, and is asked for each request. A name that is none
	// gives an error matching [io/fs.ErrNotExist].
	Find(ctx context.Context, name string) (attr string, err error)
	// Build returns the paths of an attribute, the main output first, which then are in one of the stores. arch is one of
	// GOARCH's words, "" is the builder's own. Those who ask at once share a build; it goes on when they have left. An
	// attribute that is no package for arch gives an error matching [io/fs.ErrNotExist].
	Build(ctx context.Context, attr, arch string) ([]store.Path, error)
	// Ref is what there is built from, as far as one tag can tell; "" if it cannot.
	Ref() string
}

// Holder keeps store paths from being deleted by Nix's garbage collector. Safe for concurrent use.
type Holder interface {
	// Hold returns when the closures of roots are held under a key, of lower-case hexadecimal digits, beside what is held
	// under it already. It is asked for each image that is served, and must be quick if all is held. One that is gone for
	// good is an error matching [io/fs.ErrNotExist] that names it. What the holder cannot hold, as it lies elsewhere, is no
	// error.
	Hold(ctx context.Context, key string, roots []store.Path) error
	// Touch tells that what is held under the key was served. It does not wait.
	Touch(key string)
}

// builds is the catalog of packages, of what a [Builder] makes where no store has it, and of shell/….
//
// What is built is in a store from then on, and packages know many of it by the same name.
type builds struct {
	store    store.Store // all stores, the names of files outside of them included
	packages *packages.Catalog
	files    *fileReader // reads images that were built
	builder  Builder     // nil: nothing is built
	ref      string      // a tag; "" for none
	holder   Holder
	cache    kv.Store
	root     []imagefile.RootPart // of every image
	archs    []string
	results  lru.Cache[order, buildResult]
}

func newBuilds(files *fileReader, cfg Config) *builds {
	b := &builds{store: files.env.Store, files: files, packages: cfg.Packages, builder: cfg.Builder, holder: cfg.Holder, cache: cfg.Cache, archs: cfg.Architectures}
	b.root = slices.Compact(slices.Sorted(slices.Values(cfg.Root)))
	b.results.Max = resultBytes
	if b.builder != nil {
		b.ref = packages.TagName(b.builder.Ref())
	}
	return b
}

// moving reports whether a tag stands for the newest there is.
func (b *builds) moving(tag string) bool { return tag == packages.Latest || tag == b.ref && tag != "" }

// State is that of the packages: builds change the stores.
func (b *builds) State(ctx context.Context) (string, error) { return b.packages.State(ctx) }

// Settled is that of the packages.
func (b *builds) Settled(ctx context.Context) bool { return b.packages.Settled(ctx) }

// Refused is that of the packages.
func (b *builds) Refused(ctx context.Context, repository string) error {
	return b.packages.Refused(ctx, repository)
}

// Repositories are those of the packages: what could be built nobody lists.
func (b *builds) Repositories(ctx context.Context) ([]string, error) {
	return b.packages.Repositories(ctx)
}

func (b *builds) Owns(ctx context.Context, repository string) (bool, error) {
	if owned, err := b.packages.Owns(ctx, repository); err != nil || owned {
		return owned, err
	}
	list, err := b.supplies(ctx, repository, false)
	if packages.IsUnknown(err) || err == nil && fixed(list) && !list[0].shell && packages.PulledName(repository) != repository {
		return false, nil // packages have one spelling
	}
	return err == nil, err
}

// Lookup asks the packages first. What they know the name of, and nothing more, is built, and so is everything under the
// builder's own tag.
func (b *builds) Lookup(ctx context.Context, repository, tag string) ([]*draft.Definition, error) {
	owned, err := b.packages.Owns(ctx, repository)
	if err != nil {
		return nil, err
	}
	if !owned {
		return moving(b.lookup(ctx, repository, tag, tag == b.ref))
	}
	images, err := b.packages.Lookup(ctx, repository, tag)
	if !packages.IsUnknown(err) || b.builder == nil || !b.moving(tag) {
		return b.defineAll(images), err
	}
	defs, failed := moving(b.lookup(ctx, repository, tag, true))
	if packages.IsUnknown(failed) {
		return nil, err
	}
	return defs, failed
}

// moving marks definitions that a builder may change.
func moving(defs []*draft.Definition, err error) ([]*draft.Definition, error) {
	for _, d := range defs {
		d.Moving = true
	}
	return defs, err
}

func (b *builds) lookup(ctx context.Context, repository, tag string, attributes bool) ([]*draft.Definition, error) {
	list, err := b.supplies(ctx, repository, attributes)
	if err != nil {
		return nil, err
	}
	if !list[0].shell && len(list) == 1 && list[0].attr != "" {
		return b.single(ctx, repository, list[0].attr, tag)
	}
	if !b.moving(tag) || tag != packages.Latest && fixed(list) {
		return nil, b.noTag(repository, tag)
	}
	images, err := b.joined(ctx, title(list), list, b.archs)
	if list[0].shell {
		for i := range images {
			images[i].Program = shellProgram
		}
	}
	return b.defineAll(images), err
}

// define makes the definition of an image of packages.
func (b *builds) define(m packages.Image) *draft.Definition {
	return &draft.Definition{Title: m.Title, Version: m.Version, Kind: &draft.Package{Contents: m.Contents, Program: m.Program, Root: b.root}}
}

func (b *builds) defineAll(images []packages.Image) []*draft.Definition {
	var defs []*draft.Definition
	for _, m := range images {
		defs = append(defs, b.define(m))
	}
	return defs
}

func (b *builds) noTag(repository, tag string) error {
	tags := packages.Latest
	if b.ref != "" {
		tags += " and " + b.ref
	}
	return packages.Unknown(fmt.Sprintf("%s has no tag %s: what is built or joined has %s", repository, tag, tags))
}

// single is an attribute alone: a package, or a whole image.
func (b *builds) single(ctx context.Context, repository, attr, tag string) ([]*draft.Definition, error) {
	if !b.moving(tag) && !b.isImage(ctx, attr) {
		return nil, b.noTag(repository, tag)
	}
	outputs, err := b.outputs(ctx, attr, b.archs)
	if err != nil {
		return nil, err
	}
	platforms := make(map[string]*draft.Definition)
	for _, paths := range outputs {
		whole, err := b.wholeImage(ctx, paths[0])
		if err != nil {
			return nil, err
		}
		if !whole {
			if err := b.addPackage(ctx, platforms, paths); err != nil {
				return nil, err
			}
			continue
		}
		defs, err := b.image(ctx, repository, attr, paths[0], tag)
		if err != nil {
			return nil, err
		}
		arch := defs[0].Kind.Architecture()
		if arch == "" { // it was made elsewhere, and is not read yet
			return defs, nil
		}
		if platforms[arch] == nil {
			platforms[arch] = defs[0]
		}
	}
	return b.choose(platforms, repository, tag)
}

// addPackage adds the image of a package, the same as if a store had had it.
func (b *builds) addPackage(ctx context.Context, platforms map[string]*draft.Definition, paths []store.Path) error {
	image := packages.ImageOf(paths[0])
	image.Contents = paths
	var arch string
	if len(b.archs) > 0 { // else it is found when the image is made
		var err error
		if arch, err = b.packages.Architecture(ctx, paths); err != nil {
			return err
		}
	}
	if platforms[arch] == nil {
		platforms[arch] = b.define(image)
	}
	return nil
}

// choose returns the images of those architectures that images are made for.
func (b *builds) choose(platforms map[string]*draft.Definition, repository, tag string) ([]*draft.Definition, error) {
	whole := func(d *draft.Definition) bool { return d.Kind.Architecture() != "" } // it says itself what it is for
	if len(b.archs) > 0 && !slices.ContainsFunc(slices.Collect(maps.Values(platforms)), whole) {
		if err := packages.Restrict(platforms, b.archs, repository+":"+tag); err != nil {
			return nil, err
		}
	}
	if platforms[program.DefaultArchitecture] != nil {
		delete(platforms, "")
	}
	var defs []*draft.Definition
	for _, arch := range slices.Sorted(maps.Keys(platforms)) {
		d := platforms[arch]
		if !whole(d) && !b.moving(tag) {
			return nil, b.noTag(repository, tag) // it was an image once
		}
		defs = append(defs, d)
	}
	return defs, nil
}

// byArchitecture is what one of a definition's contents stands for, by the architecture of its programs: the packages', or
// what is built for arch. The name is spelled as the definition has it.
func (b *builds) byArchitecture(ctx context.Context, name, tag, arch string) (map[string][]store.Path, error) {
	found, err := b.packages.ByArchitecture(ctx, packages.PulledName(name), tag)
	if !packages.IsUnknown(err) || b.builder == nil || !b.moving(tag) {
		return found, err
	}
	list, failed := b.supplies(ctx, name, tag == b.ref)
	if packages.IsUnknown(failed) || failed == nil && list[0].shell {
		return nil, err
	}
	if failed != nil {
		return nil, failed
	}
	var archs []string
	if arch != "" {
		archs = []string{arch}
	}
	images, err := b.joined(ctx, name, list, archs)
	if err != nil {
		return nil, err
	}
	return b.packages.Contents(ctx, images)
}

// canBuild reports whether one of a definition's contents would have to be built. It builds nothing.
func (b *builds) canBuild(ctx context.Context, name, tag string) bool {
	if b.builder == nil || !b.moving(tag) {
		return false
	}
	if owned, err := b.packages.Owns(ctx, packages.PulledName(name)); err != nil || owned && tag == packages.Latest {
		return false
	}
	list, err := b.supplies(ctx, name, tag == b.ref)
	return err == nil && !list[0].shell && !fixed(list) // of an error who looks the name up tells
}
