package catalog

import (
	"cmp"
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

// Builder builds packages that no store has. Safe for concurrent use.
type Builder interface {
	// Find returns the attribute path for a name, such as python3Packages.requests for python3packages.requests. The name is one
	// component of a repository name. Find builds nothing, and the catalog calls it for each request. If no attribute has the
	// name, the error matches [io/fs.ErrNotExist].
	Find(ctx context.Context, name string) (attr string, err error)
	// Build builds an attribute. The paths are then in one of the stores.
	// arch is a value of GOARCH; "" is the architecture of the builder. Callers that ask for the same build at the same time
	// share it; the build goes on when all of them have left. If the attribute is no package for arch, the error matches
	// [io/fs.ErrNotExist].
	Build(ctx context.Context, attr, arch string) (packages.Built, error)
	// Ref returns the source that packages are built from, as text for a tag; "" if no tag can name it.
	Ref() string
}

// Holder keeps Nix's garbage collector from deleting store paths. Safe for concurrent use.
type Holder interface {
	// Hold protects the closures of roots under a key, in addition to the paths that the key protects already. It returns when
	// they are protected. The key has lower-case hexadecimal digits. The registry calls Hold for each image that it serves, so
	// Hold must be quick if everything is protected already. If a root was deleted, the error matches [io/fs.ErrNotExist] and
	// names the root. A root in a store that the holder cannot protect is no error.
	Hold(ctx context.Context, key string, roots []store.Path) error
	// Touch reports that the paths under the key were served. It does not wait.
	Touch(key string)
}

// builds is the provider of packages, of the images that a [Builder] makes when no store has them, and of shell/….
//
// After a build the paths are in a store, and packages finds many of them by the same name.
type builds struct {
	store    store.Store // all stores, the one of host files included
	packages *packages.Catalog
	files    *fileReader // reads whole images that were built
	builder  Builder     // nil: nothing is built
	ref      string      // the tag for the source of the builder; "" for none
	holder   Holder
	cache    kv.Store
	root     []imagefile.RootPart // root directory entries of every image
	layering imagefile.Layering
	archs    []string
	results  lru.Cache[order, buildResult]
}

func newBuilds(files *fileReader, cfg Config) *builds {
	b := &builds{store: files.env.Store, files: files, packages: cfg.Packages, builder: cfg.Builder, holder: cfg.Holder, cache: cfg.Cache, archs: cfg.Architectures}
	b.root = slices.Compact(slices.Sorted(slices.Values(cfg.Root)))
	b.layering = cmp.Or(cfg.Layering, imagefile.Shared)
	b.results.Max = resultBytes
	if b.builder != nil {
		b.ref = packages.TagName(b.builder.Ref())
	}
	return b
}

// moving reports whether a tag may stand for another image later, because it names the newest version: latest, or the tag of the
// builder's source.
func (b *builds) moving(tag string) bool { return tag == packages.Latest || tag == b.ref && tag != "" }

// State returns the state of the packages: each build changes the stores, and so this state.
func (b *builds) State(ctx context.Context) (string, error) { return b.packages.State(ctx) }

// Settled returns whether the packages are settled.
func (b *builds) Settled(ctx context.Context) bool { return b.packages.Settled(ctx) }

// Refused returns the error of the packages for a repository that a store does not serve.
func (b *builds) Refused(ctx context.Context, repository string) error {
	return b.packages.Refused(ctx, repository)
}

// Repositories returns the repositories of the packages. It leaves out the names that could be built, because nothing lists
// them.
func (b *builds) Repositories(ctx context.Context) ([]string, error) {
	return b.packages.Repositories(ctx)
}

func (b *builds) Owns(ctx context.Context, repository string) (bool, error) {
	if owned, err := b.packages.Owns(ctx, repository); err != nil || owned {
		return owned, err
	}
	list, err := b.supplies(ctx, repository, false)
	if packages.IsUnknown(err) || err == nil && fixed(list) && !list[0].shell && packages.PulledName(repository) != repository {
		return false, nil // a package is served under one spelling only
	}
	return err == nil, err
}

// Lookup asks the packages first. It builds a name if the stores have no path for it, and it builds every name under the tag of
// the builder's source.
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

// moving sets Moving in definitions, because the builder may give another result later.
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
	return &draft.Definition{
		Title: m.Title, Version: m.Version, MainProgram: m.MainProgram,
		Kind: &draft.Package{Format: draft.Format2, Layering: b.layering, Contents: m.Contents, Program: m.Program, Root: b.root},
	}
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

// single returns the definitions for one attribute: a package, or a whole image.
func (b *builds) single(ctx context.Context, repository, attr, tag string) ([]*draft.Definition, error) {
	if !b.moving(tag) && !b.isImage(ctx, attr) {
		return nil, b.noTag(repository, tag)
	}
	built, err := b.outputs(ctx, attr, b.archs)
	if err != nil {
		return nil, err
	}
	platforms := make(map[string]*draft.Definition)
	for _, m := range built {
		path := m.Contents[0]
		whole, err := b.wholeImage(ctx, path)
		if err != nil {
			return nil, err
		}
		if !whole {
			if err := b.addPackage(ctx, platforms, m); err != nil {
				return nil, err
			}
			continue
		}
		defs, err := b.image(ctx, repository, attr, path, tag)
		if err != nil {
			return nil, err
		}
		arch := defs[0].Kind.Architecture()
		if arch == "" { // another tool made the image, and its file is not read yet
			return defs, nil
		}
		if platforms[arch] == nil {
			platforms[arch] = defs[0]
		}
	}
	return b.choose(platforms, repository, tag)
}

// addPackage adds the image of a package that was built. The image is the same as if a store had had the package already.
func (b *builds) addPackage(ctx context.Context, platforms map[string]*draft.Definition, m packages.Image) error {
	var arch string
	if len(b.archs) > 0 { // without archs the architecture is found when the image is made
		var err error
		if arch, err = b.packages.Architecture(ctx, m.Contents); err != nil {
			return err
		}
	}
	if platforms[arch] == nil {
		platforms[arch] = b.define(m)
	}
	return nil
}

// choose returns the images for the configured architectures.
func (b *builds) choose(platforms map[string]*draft.Definition, repository, tag string) ([]*draft.Definition, error) {
	whole := func(d *draft.Definition) bool { return d.Kind.Architecture() != "" } // a whole image states its own architecture
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
			return nil, b.noTag(repository, tag) // the attribute was a whole image before, and is a package now
		}
		defs = append(defs, d)
	}
	return defs, nil
}

// byArchitecture returns the store paths for one entry of a definition's contents, by the architecture of their programs. They
// come from the packages, or from a build for arch. name is spelled as in the definition.
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

// canBuild reports whether one entry of a definition's contents has to be built. It builds nothing.
func (b *builds) canBuild(ctx context.Context, name, tag string) bool {
	if b.builder == nil || !b.moving(tag) {
		return false
	}
	if owned, err := b.packages.Owns(ctx, packages.PulledName(name)); err != nil || owned && tag == packages.Latest {
		return false
	}
	list, err := b.supplies(ctx, name, tag == b.ref)
	return err == nil && !list[0].shell && !fixed(list) // the lookup of the name returns the error
}
