package draft

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"path"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"github.com/nixreg/nixreg/internal/flight"
	"github.com/nixreg/nixreg/manifest/dockertools"
	"github.com/nixreg/nixreg/manifest/document"
	"github.com/nixreg/nixreg/manifest/finished"
	"github.com/nixreg/nixreg/manifest/imagefile"
	"github.com/nixreg/nixreg/manifest/layer"
	"github.com/nixreg/nixreg/store"
)

// maxConfig bounds an image's config, in bytes. Clients refuse a larger one.
const maxConfig = 4 << 20

// Image is an image whose layers are decided, but not hashed. It is for one goroutine at a time.
type Image struct {
	document []byte          // the config of a finished image; nil: the config is made of the field below
	config   document.Config // without diffIDs
	layers   []plannedLayer
	image    document.Image // the fields that are known before the layers are hashed

	misspelled []Misspelled // keys of the config
}

// Misspelled is a wrong key of a config that resembles a known key, with its position and the warning about it.
type Misspelled struct {
	At   imagefile.Position // zero if unknown
	Text string
}

// plannedLayer is a layer that is not hashed.
type plannedLayer struct {
	recipe   layer.Recipe
	contents []string
	comment  string  // of the history; "" for that of store paths
	want     v1.Hash // the digest it must have; zero for any
	size     int64   // bytes to hash, approximately
}

// Layers returns the number of layers.
func (b *Image) Layers() int { return len(b.layers) }

// Warnings returns the probable mistakes with which the image can be served all the same, misspelled keys included.
func (b *Image) Warnings() []string { return b.image.Warnings }

// Misspelled returns the misspelled keys of the config.
func (b *Image) Misspelled() []Misspelled { return b.misspelled }

func pathsOf(objects []*store.Object) []store.Path {
	paths := make([]store.Path, len(objects))
	for i, o := range objects {
		paths[i] = o.Path
	}
	return paths
}

// add adds layers, each with its line of history.
func (b *Image) add(layers ...plannedLayer) {
	for _, l := range layers {
		b.layers = append(b.layers, l)
		b.config.Comments = append(b.config.Comments, cmp.Or(l.comment, document.StorePaths(l.contents)))
	}
}

func (b *Image) addStorePaths(paths []store.Path, objects map[store.Path]*store.Object, owner layer.Owner, mtime int64) {
	l := plannedLayer{recipe: layer.Recipe{Format: layer.StorePaths, Owner: owner, MTime: mtime}}
	for _, p := range paths {
		l.recipe.Objects = append(l.recipe.Objects, layer.RefOf(objects[p]))
		l.contents = append(l.contents, p.Abs())
		l.size += objects[p].NarSize
	}
	b.add(l)
}

// addSymlinks adds the layer of links to the files of the contents. A content may itself be a link to another path of the closure.
// Then the layer has the names of files in that path, and depends on the whole closure.
func (b *Image) addSymlinks(ctx context.Context, s store.Store, contents []store.Path, closure []*store.Object, size int64) error {
	l := plannedLayer{recipe: layer.Recipe{Format: layer.Symlinks}, size: size}
	linked := false
	for _, p := range contents {
		at, _, err := store.Resolve(ctx, s, p.Abs())
		if err != nil {
			return err
		}
		linked = linked || at != p
		i := slices.IndexFunc(closure, func(o *store.Object) bool { return o.Path == p })
		l.recipe.Objects = append(l.recipe.Objects, layer.RefOf(closure[i]))
		l.contents = append(l.contents, p.Abs())
	}
	if linked {
		for _, o := range closure {
			l.recipe.Via = append(l.recipe.Via, layer.RefOf(o))
		}
	}
	b.add(l)
	return nil
}

// addBase adds the layers of the base image, below all others. The new config takes only Env from the config of the base image.
//
// Source: stream_layered_image.py, add_base_layers and overlay_base_config.
func (b *Image) addBase(base *finished.Base) error {
	for _, l := range base.Layers {
		b.add(plannedLayer{recipe: l.Recipe, contents: []string{l.Name}, want: l.DiffID, size: l.Size})
	}
	return b.mergeBaseEnv(base.Config)
}

func (b *Image) mergeBaseEnv(config []byte) error {
	doc, err := document.Parse(config)
	if err != nil {
		return fmt.Errorf("config: %w", err)
	}
	baseConfig, _ := doc.Get("config")
	baseEnv, _ := baseConfig.Get("Env")
	ownEnv, _ := b.config.Config.Get("Env")
	for _, v := range slices.Concat(baseEnv.Items, ownEnv.Items) {
		if _, ok := v.AsString(); !ok {
			return fmt.Errorf("config: Env is not a list of strings: %w", fs.ErrInvalid)
		}
	}
	if merged := document.MergeEnv(baseEnv.Items, ownEnv.Items); len(merged) > 0 {
		config := b.config.Config
		if config.Kind != '{' { // null
			config = document.Value{Kind: '{'}
		}
		// The lists of keys are shared with the definition: set on a copy.
		config.Keys, config.Items = slices.Clone(config.Keys), slices.Clone(config.Items)
		config.Set("Env", document.List(merged...))
		b.config.Config = config
	}
	return nil
}

// describeCommand copies the command and Env from the config, for reports.
func (b *Image) describeCommand() {
	b.image.Command, b.image.Env = words(b.config.Config, "Entrypoint", "Cmd"), words(b.config.Config, "Env")
	b.noteCommand()
}

func (b *Image) noteCommand() {
	if len(b.image.Command) == 0 {
		b.image.CommandNote = "the image's config has neither Entrypoint nor Cmd"
	}
}

// words returns the strings listed under some keys of a config, one list after the other.
func words(config document.Value, keys ...string) []string {
	var out []string
	for _, k := range keys {
		list, _ := config.Get(k)
		for _, v := range list.Items {
			if s, ok := v.AsString(); ok {
				out = append(out, s)
			}
		}
	}
	return out
}

// Whiteouts returns a warning for each of the first few names that runtimes take for whiteouts, without hashing anything. It skips
// layers that were made elsewhere, and all layers if the store is remote.
func (b *Image) Whiteouts(ctx context.Context, m *layer.Maker) (warnings []string, err error) {
	if store.IsDistant(m.Store) {
		return nil, nil
	}
	for _, l := range b.layers {
		if l.recipe.Format != layer.StorePaths && (l.recipe.Format != layer.Symlinks || len(warnings) > 0) {
			continue
		}
		names, err := m.Whiteouts(ctx, l.recipe)
		if err != nil {
			return nil, err
		}
		warnings = append(warnings, whiteoutWarnings(names)...)
	}
	return warnings, nil
}

func whiteoutWarnings(names []string) (warnings []string) {
	for _, n := range names {
		warnings = append(warnings, n+": runtimes take this name for a whiteout and hide the file")
	}
	return warnings
}

// Finish encodes and hashes the layers. It returns the image, without its key, and the bytes of its config. It calls done after
// each layer, from many goroutines.
func (b *Image) Finish(ctx context.Context, m *layer.Maker, encoding layer.Encoding, done func()) (*document.Image, []byte, error) {
	for i := range b.layers {
		if r := &b.layers[i].recipe; r.Packed == "" && b.document == nil {
			r.Encoding = encoding
		}
	}
	infos, err := b.describe(ctx, m, done)
	if err != nil {
		return nil, nil, err
	}
	im := b.image
	im.Encoding = encoding
	im.OS, im.Architecture, im.Variant = cmp.Or(im.OS, "linux"), b.config.Architecture, b.config.Variant
	for i, info := range infos {
		l := b.layers[i]
		if l.want != (v1.Hash{}) && l.want != info.DiffID {
			return nil, nil, fmt.Errorf("%s: layer is %s, not %s as its image says: %w", path.Base(l.contents[0]), info.DiffID, l.want, fs.ErrInvalid)
		}
		im.Layers = append(im.Layers, document.ImageLayer{Digest: info.Digest, Size: info.Size, Recipe: l.recipe, Contents: l.contents})
		b.config.DiffIDs = append(b.config.DiffIDs, info.DiffID)
		if l.recipe.Format == layer.Symlinks && len(im.Warnings) > len(b.image.Warnings) {
			continue // this layer links to files that have a warning already
		}
		im.Warnings = append(im.Warnings, whiteoutWarnings(info.Whiteouts)...)
	}
	if len(im.Layers) > dockertools.MaxRuntimeLayers {
		im.Warnings = append(im.Warnings, fmt.Sprintf("%d layers: Docker takes no more than %d", len(im.Layers), dockertools.MaxRuntimeLayers))
	}
	config := b.document
	if config == nil {
		config = b.config.Bytes()
	}
	if len(config) > maxConfig {
		return nil, nil, fmt.Errorf("the image's config has %d bytes, at most %d are served: %w", len(config), maxConfig, fs.ErrInvalid)
	}
	im.Config, im.ConfigSize = document.Digest(config), int64(len(config))
	return &im, config, nil
}

// describe hashes the layers and returns their sizes and digests. It starts all layers at once, in the order of hashOrder; the
// maker bounds the number that are hashed at the same time.
func (b *Image) describe(ctx context.Context, m *layer.Maker, done func()) ([]layer.Info, error) {
	infos := make([]layer.Info, len(b.layers))
	order := b.hashOrder()
	g, ctx := errgroup.WithContext(ctx)
	b.fetch(ctx, m, order)
	for _, i := range order {
		g.Go(flight.Guarded(func() (err error) {
			infos[i], err = m.Describe(ctx, b.layers[i].recipe)
			done()
			return err
		}))
	}
	return infos, g.Wait()
}

// hashOrder returns the order in which layers are hashed: the largest first, so that no large layer runs alone at the end.
func (b *Image) hashOrder() []int {
	order := make([]int, len(b.layers))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, k int) int { return cmp.Compare(b.layers[k].size, b.layers[i].size) })
	return order
}

// fetch starts to fetch the paths that are needed to hash the layers, in that order. It leaves out layers whose digests are
// recorded, because they are not hashed again.
func (b *Image) fetch(ctx context.Context, m *layer.Maker, order []int) {
	if !store.IsDistant(m.Store) {
		return
	}
	var paths []store.Path
	seen := make(map[store.Path]bool)
	for _, i := range order {
		r := b.layers[i].recipe
		if r.Format == layer.NixDB || remembers(ctx, m, r) { // a database needs only the metadata of paths
			continue
		}
		for _, o := range r.Objects {
			if !seen[o.Path] {
				seen[o.Path] = true
				paths = append(paths, o.Path)
			}
		}
	}
	store.Prefetch(ctx, m.Store, paths)
}

// remembers reports whether the digest of the recipe is recorded.
func remembers(ctx context.Context, m *layer.Maker, r layer.Recipe) bool {
	_, err := m.Cache.Get(ctx, "layer/"+r.ID())
	return err == nil
}
