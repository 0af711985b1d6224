package manifest

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"slices"

	"github.com/nixreg/nixreg/manifest/catalog"
	"github.com/nixreg/nixreg/manifest/dockertools"
	"github.com/nixreg/nixreg/manifest/document"
	"github.com/nixreg/nixreg/manifest/finished"
	"github.com/nixreg/nixreg/manifest/imagefile"
	"github.com/nixreg/nixreg/manifest/layer"
	"github.com/nixreg/nixreg/manifest/program"
	"github.com/nixreg/nixreg/store"
)

// draftPackage plans the image of a package, as streamLayeredImage { contents; config = { Cmd; Env }; } does.
func draftPackage(ctx context.Context, s store.Store, d *catalog.Definition, closure []*store.Object) (*draft, error) {
	s = store.Within(s, pathsOf(closure)...)
	arch, err := program.Architecture(ctx, s, d.Contents, closure)
	if err != nil {
		return nil, err
	}
	command, note, err := program.Main(ctx, s, d.Contents, d.Program)
	if err != nil {
		return nil, err
	}
	config := document.Value{Kind: '{'}
	if command != "" {
		config.Set("Cmd", document.List(document.String(command)))
	}
	config.Set("Env", document.List(document.String("PATH=/bin")))
	args := dockertools.DefaultArgs(config.Compact())
	args.Architecture = cmp.Or(arch, program.DefaultArchitecture)
	b, err := draftArgs(ctx, s, d, args, closure, nil)
	if err != nil {
		return nil, err
	}
	b.image.CommandNote = note
	return b, nil
}

// draftDefinition plans the image of a definition file.
func (s *Source) draftDefinition(ctx context.Context, d *catalog.Definition, objects []*store.Object) (*draft, error) {
	closure, args := objects, *d.Args
	if args.Base != "" {
		closure = objects[:len(objects)-1]
	}
	within := store.Within(s.store, pathsOf(closure)...)
	var err error
	if args.Architecture, err = s.definitionArchitecture(ctx, d, closure); err != nil {
		return nil, err
	}
	base, err := s.base(ctx, &args, objects)
	if err != nil {
		return nil, fmt.Errorf("fromImage: %w", err)
	}
	if base != nil {
		if err := args.SettleArchitecture(base.Architecture(), d.Args.Architecture != "" && !d.ArchFound); err != nil {
			return nil, err
		}
	}
	args.Architecture = cmp.Or(args.Architecture, program.DefaultArchitecture)
	b, err := draftArgs(ctx, within, d, &args, closure, base)
	if err != nil {
		return nil, err
	}
	b.warnOfKeys()
	if base == nil {
		err = b.warnOfConfig(ctx, within, d)
	}
	return b, err
}

// definitionArchitecture is what a definition says, or that of its programs; "" where there are none.
func (s *Source) definitionArchitecture(ctx context.Context, d *catalog.Definition, closure []*store.Object) (string, error) {
	if d.Args.Architecture != "" {
		return d.Args.Architecture, nil
	}
	within := store.Within(s.store, pathsOf(closure)...)
	mentioned, err := catalog.MentionedPaths(ctx, within, d.Args)
	if err != nil {
		return "", err
	}
	return program.Architecture(ctx, within, slices.Concat(d.Contents, mentioned), closure)
}

// draftArgs plans an image as streamLayeredImage does: the base image's layers, the store paths', nixreg's own, the
// links. s has the closure alone; base may be nil.
func draftArgs(ctx context.Context, s store.Store, d *catalog.Definition, args *dockertools.Args, closure []*store.Object, base *finished.Base) (*draft, error) {
	config, err := document.Parse(args.Config)
	if err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	b := &draft{image: document.Image{Warnings: slices.Clone(args.Warnings)}}
	b.config = document.Config{Created: args.Created, Architecture: args.Architecture, Variant: args.Variant, Config: config}
	if base != nil {
		if err := b.addBase(base); err != nil {
			return nil, fmt.Errorf("fromImage: %w", err)
		}
	}
	links, err := layer.SymlinkTar(ctx, s, d.Contents)
	if err != nil {
		return nil, err
	}
	text := args.BaseJSON(args.Architecture)
	hidden := [2]dockertools.Hidden{
		{NarSize: narSizeOfFile(len(text)), References: mentions(text, closure)},
		{NarSize: narSizeOfCustomisation(len(links)), References: mentions(links, closure)},
	}
	within := reachable(closure, hidden)
	own, err := b.rootLayer(ctx, s, d, within)
	if err != nil {
		return nil, err
	}
	if args.IncludeNixDB {
		own = append(own, databaseLayer(within, hidden, d.Contents))
	}
	if err := b.addPlan(args, within, hidden, len(own)); err != nil {
		return nil, err
	}
	b.add(own...)
	if err := b.addSymlinks(ctx, s, d.Contents, closure, int64(len(links))); err != nil {
		return nil, err
	}
	b.describeCommand()
	return b, b.checkLayers(base)
}

// reachable is what is in the image of a closure: what the links and the config mention and all it refers to, not the
// contents themselves. It is sorted by path.
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

// addPlan adds the layers of store paths. The layers that are there already, more that are to come, and the links' count
// among maxLayers.
func (b *draft) addPlan(args *dockertools.Args, within []*store.Object, hidden [2]dockertools.Hidden, more int) error {
	if args.ExcludeStorePaths || len(within) == 0 {
		return nil
	}
	left := args.MaxLayers - len(b.layers) - more
	if left < 2 {
		return dockertools.NoLayerLeft(args.MaxLayers, len(b.layers), more)
	}
	divide := dockertools.Plan
	if args.Layering == imagefile.Popularity {
		divide = dockertools.PlanByPopularity
	}
	byPath := objectsByPath(within)
	for _, paths := range divide(within, hidden, left) {
		b.addStorePaths(paths, byPath, args.Owner, args.MTime)
	}
	return nil
}

// databaseLayer is the layer with a Nix database of what is in the image. Its roots are the contents, and what the config
// mentions.
func databaseLayer(within []*store.Object, hidden [2]dockertools.Hidden, contents []store.Path) draftLayer {
	l := draftLayer{comment: "nix database", contents: []string{"nix database"}}
	var roots []store.Path
	for _, o := range within {
		if slices.Contains(contents, o.Path) || slices.Contains(hidden[0].References, o.Path) {
			roots = append(roots, o.Path)
		}
	}
	l.recipe = layer.NixDBRecipe(within, roots)
	return l
}

// describeCommand takes from the config what reports tell of it.
func (b *draft) describeCommand() {
	b.image.Command, b.image.Env = words(b.config.Config, "Entrypoint", "Cmd"), words(b.config.Config, "Env")
	if len(b.image.Command) == 0 {
		b.image.CommandNote = "the image's config has neither Entrypoint nor Cmd"
	}
}

// checkLayers sees that runtimes take the image.
func (b *draft) checkLayers(base *finished.Base) error {
	if len(b.layers) <= dockertools.MaxRuntimeLayers {
		return nil
	}
	below := 0
	if base != nil {
		below = len(base.Layers)
	}
	return fmt.Errorf("%d layers, %d of them the base image's: runtimes take no more than %d: set a lower maxLayers, or take another base: %w",
		len(b.layers), below, dockertools.MaxRuntimeLayers, fs.ErrInvalid)
}
