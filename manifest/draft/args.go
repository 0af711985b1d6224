package draft

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"slices"

	"github.com/nixreg/nixreg/manifest/dockertools"
	"github.com/nixreg/nixreg/manifest/document"
	"github.com/nixreg/nixreg/manifest/finished"
	"github.com/nixreg/nixreg/manifest/imagefile"
	"github.com/nixreg/nixreg/manifest/layer"
	"github.com/nixreg/nixreg/store"
)

// plan is made of a [Package] or a [File]. It has the arguments of streamLayeredImage, and the additions of nixreg.
type plan struct {
	args     *dockertools.Args
	contents []store.Path
	root     []imagefile.RootPart
	// named says that a definition names the parts of root. Then a part that the image cannot have is an error.
	named   bool
	closure []*store.Object // of the contents and the config; sorted
	base    *finished.Base  // nil for none
	format1 bool
}

// draft plans the layers as streamLayeredImage does. The order is: layers of the base image, of store paths, of nixreg, the layer of
// links, and the parts of root that the links would hide. s has the paths of the closure only.
func (p *plan) draft(ctx context.Context, s store.Store) (*Image, error) {
	config, err := document.Parse(p.args.Config)
	if err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	b := &Image{image: document.Image{Warnings: slices.Clone(p.args.Warnings)}}
	b.config = document.Config{Created: p.args.Created, Architecture: p.args.Architecture, Variant: p.args.Variant, Config: config}
	if p.base != nil {
		if err := b.addBase(p.base); err != nil {
			return nil, fmt.Errorf("fromImage: %w", err)
		}
	}
	links, err := layer.SymlinkTar(ctx, s, p.contents)
	if err != nil {
		return nil, err
	}
	linked, err := readLinks(links)
	if err != nil {
		return nil, err
	}
	hiding := &hiding{store: s, contents: p.contents, links: linked}
	b.image.Warnings = append(b.image.Warnings, hiding.warnings(ctx)...)
	text := p.args.BaseJSON(p.args.Architecture)
	hidden := [2]dockertools.Hidden{dockertools.HiddenFile(text, p.closure), dockertools.HiddenLayer(links, p.closure)}
	within := reachable(p.closure, hidden)
	own, top, err := b.rootLayers(ctx, s, p, within, hiding)
	if err != nil {
		return nil, err
	}
	if p.args.IncludeNixDB {
		own = append(own, databaseLayer(within, hidden, p))
	}
	if err := b.addPlan(p, within, hidden, len(own)+len(top)); err != nil {
		return nil, err
	}
	b.add(own...)
	if err := b.addSymlinks(ctx, s, p.contents, p.closure, int64(len(links))); err != nil {
		return nil, err
	}
	b.add(top...)
	b.describeCommand()
	if len(b.layers) <= dockertools.MaxRuntimeLayers {
		return b, nil
	}
	below := 0
	if p.base != nil {
		below = len(p.base.Layers)
	}
	return nil, fmt.Errorf("%d layers, %d of them the base image's: runtimes take no more than %d: set a lower maxLayers, or take another base: %w",
		len(b.layers), below, dockertools.MaxRuntimeLayers, fs.ErrInvalid)
}

// reachable returns the store paths in the image of a closure, sorted by path: the paths that the links and the config mention, and
// the closures of these. The contents are only among them if the links or the config mention them.
func reachable(closure []*store.Object, hidden [2]dockertools.Hidden) []*store.Object {
	byPath := objectsByPath(closure)
	var within []*store.Object
	seen := make(map[store.Path]bool)
	todo := slices.Concat(hidden[0].References, hidden[1].References)
	for len(todo) > 0 {
		p := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		o := byPath[p]
		if seen[p] || o == nil {
			continue
		}
		seen[p] = true
		within = append(within, o)
		todo = append(todo, o.References...)
	}
	slices.SortFunc(within, func(a, b *store.Object) int { return cmp.Compare(a.Path, b.Path) })
	return within
}

func objectsByPath(objects []*store.Object) map[store.Path]*store.Object {
	byPath := make(map[store.Path]*store.Object, len(objects))
	for _, o := range objects {
		byPath[o.Path] = o
	}
	return byPath
}

// addPlan adds the layers of store paths. maxLayers bounds the sum of these layers, the layers that b has already, the more layers
// that follow, and the layer of links.
func (b *Image) addPlan(p *plan, within []*store.Object, hidden [2]dockertools.Hidden, more int) error {
	args := p.args
	if args.ExcludeStorePaths || len(within) == 0 {
		return nil
	}
	left := args.MaxLayers - len(b.layers) - more
	if left < 2 {
		return dockertools.NoLayerLeft(args.MaxLayers, len(b.layers), more)
	}
	var layers [][]store.Path
	switch args.Layering {
	case imagefile.Shared:
		layers = dockertools.PlanShared(within, p.contents, left)
	case imagefile.Popularity:
		layers = dockertools.PlanByPopularity(within, hidden, left)
	default:
		layers = dockertools.Plan(within, hidden, left)
	}
	byPath := objectsByPath(within)
	for _, paths := range layers {
		b.addStorePaths(paths, byPath, args.Owner, args.MTime)
	}
	return nil
}

// databaseLayer returns the layer with a Nix database of the paths in the image. The roots of the database are the contents, and
// the paths that the config mentions.
func databaseLayer(within []*store.Object, hidden [2]dockertools.Hidden, p *plan) plannedLayer {
	owner := p.args.Owner
	if p.format1 {
		owner = layer.Root
	}
	l := plannedLayer{comment: "nix database", contents: []string{"nix database"}}
	var roots []store.Path
	for _, o := range within {
		if slices.Contains(p.contents, o.Path) || slices.Contains(hidden[0].References, o.Path) {
			roots = append(roots, o.Path)
		}
	}
	l.recipe = layer.NixDBRecipe(within, roots, owner)
	return l
}
