package manifest

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"github.com/nixreg/nixreg/internal/flight"
	"github.com/nixreg/nixreg/manifest/catalog"
	"github.com/nixreg/nixreg/manifest/dockertools"
	"github.com/nixreg/nixreg/manifest/document"
	"github.com/nixreg/nixreg/manifest/layer"
	"github.com/nixreg/nixreg/store"
)

const (
	// maxConfig bounds an image's config, in bytes: clients take no more.
	maxConfig = 4 << 20
)

// draft is an image whose layers are decided, but not hashed.
type draft struct {
	document []byte          // the config, if it is not to be made of what follows
	config   document.Config // without diffIDs
	layers   []draftLayer
	image    document.Image // what is known of it already

	misspelled []catalog.Misspelled // of the config
}

type draftLayer struct {
	recipe   layer.Recipe
	contents []string
	comment  string  // of the history; "" for that of store paths
	want     v1.Hash // the digest it must have; zero: whatever it is
	size     int64   // about how much there is to hash
}

func pathsOf(objects []*store.Object) []store.Path {
	paths := make([]store.Path, len(objects))
	for i, o := range objects {
		paths[i] = o.Path
	}
	return paths
}

// add adds layers, each with its line of history.
func (b *draft) add(layers ...draftLayer) {
	for _, l := range layers {
		b.layers = append(b.layers, l)
		b.config.Comments = append(b.config.Comments, cmp.Or(l.comment, document.StorePaths(l.contents)))
	}
}

func (b *draft) addStorePaths(paths []store.Path, objects map[store.Path]*store.Object, owner layer.Owner, mtime int64) {
	l := draftLayer{recipe: layer.Recipe{Format: layer.StorePaths, Owner: owner, MTime: mtime}}
	for _, p := range paths {
		l.recipe.Objects = append(l.recipe.Objects, layer.RefOf(objects[p]))
		l.contents = append(l.contents, p.Abs())
		l.size += objects[p].NarSize
	}
	b.add(l)
}

// addSymlinks adds the layer of links. A content that is a link itself leads to the names of another path of the
// closure, on which the layer then depends as well.
func (b *draft) addSymlinks(ctx context.Context, s store.Store, contents []store.Path, closure []*store.Object, size int64) error {
	l := draftLayer{recipe: layer.Recipe{Format: layer.Symlinks}, size: size}
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

// mentions returns the objects whose hash part occurs in text, as Nix's scan for references finds them.
//
// Source: Nix, libstore/references.cc, search: 32 characters of its base 32 in a row.
func mentions(text []byte, among []*store.Object) []store.Path {
	byHash := make(map[string]store.Path, len(among))
	for _, o := range among {
		byHash[o.Path.Hash()] = o.Path
	}
	found := make(map[store.Path]bool)
	for i := 0; i+store.HashLen <= len(text); {
		window := text[i : i+store.HashLen]
		if k := bytes.LastIndexFunc(window, notBase32); k >= 0 {
			i += k + 1
			continue
		}
		if p, ok := byHash[string(window)]; ok {
			found[p] = true
		}
		i++
	}
	out := make([]store.Path, 0, len(found))
	for p := range found {
		out = append(out, p)
	}
	slices.Sort(out)
	return out
}

func notBase32(r rune) bool { return r >= 0x80 || strings.IndexByte(store.Base32, byte(r)) < 0 }

// The sizes of the two paths that nixpkgs' layering counts, as NARs: each string takes its length in 8 bytes and is
// padded to 8.
func narSizeOfFile(n int) int64 { return 112 + pad8(n) }

func narSizeOfCustomisation(layerTar int) int64 {
	const directory, entry, file, checksum = 96, 80, 88 + 8 - 8, 64 + 1
	return directory +
		entry + 16 + file + pad8(checksum) + // "checksum": 64 hex digits and a newline
		entry + 24 + file + pad8(layerTar) // "layer.tar"
}

func pad8(n int) int64 { return int64(n+7) / 8 * 8 }

// finish hashes the layers, encoded as asked, and writes the config.
func (b *draft) finish(ctx context.Context, m *layer.Maker, encoding layer.Encoding, done func()) (*document.Image, []byte, error) {
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
			continue // links to what was named already
		}
		for _, w := range info.Whiteouts {
			im.Warnings = append(im.Warnings, w+": runtimes take this name for a whiteout and hide the file")
		}
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

// describe asks for all layers at once, in the order of hashOrder: the maker bounds how many are hashed at a time.
func (b *draft) describe(ctx context.Context, m *layer.Maker, done func()) ([]layer.Info, error) {
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
