package packages

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/nixreg/nixreg/internal/kv"
	"github.com/nixreg/nixreg/internal/lru"
	"github.com/nixreg/nixreg/store"
)

// toldBytes bounds the memory for what builds told.
const toldBytes = 4 << 20

// Built is the result of a build of one package.
type Built struct {
	// Outputs are the paths that are in a store now, at least one.
	Outputs []store.Path
	// Main is the one of Outputs that meta.outputsToInstall has first; "" if the package does not tell.
	Main store.Path
	// Program is meta.mainProgram; "" if the package does not tell.
	Program string
}

// tellings records what builds told about the outputs of derivations, so that a name means the same output when it is found in the
// store later. Safe for concurrent use.
type tellings struct {
	records kv.Store
	known   lru.Cache[store.Path, telling]
}

type telling struct {
	Main    store.Path `json:"main,omitempty"`
	Program string     `json:"program,omitempty"`
}

func tellingKey(deriver store.Path) string { return "told/" + string(deriver) }

func (t *tellings) of(ctx context.Context, deriver store.Path) (told telling) {
	if deriver == "" || t.records == nil {
		return told
	}
	told, ok := t.known.Get(deriver)
	if !ok {
		_ = kv.Read(ctx, t.records, tellingKey(deriver), &told) // without a record the names of the outputs tell
		if ctx.Err() == nil {
			t.known.Put(deriver, told, int64(len(deriver)+len(told.Main)+len(told.Program)))
		}
	}
	return told
}

func (t *tellings) note(ctx context.Context, deriver store.Path, told telling) error {
	if deriver == "" || t.records == nil || t.of(ctx, deriver) == told {
		return nil
	}
	if err := kv.Write(ctx, t.records, tellingKey(deriver), told); err != nil {
		return err
	}
	t.known.Put(deriver, told, int64(len(deriver)+len(told.Main)+len(told.Program)))
	return nil
}

// told returns the candidate that a build of the deriver told to be the main output, or nil.
func (p *Catalog) told(ctx context.Context, deriver store.Path, among []*candidate) *candidate {
	main := p.tellings.of(ctx, deriver).Main
	i := slices.IndexFunc(among, func(c *candidate) bool { return c.Path == main })
	if i < 0 {
		return nil
	}
	c := *among[i]
	c.told = true
	return &c
}

// ImageOfBuilt returns the image of a package that was built: the one that its name means when the paths are found in a store.
func (p *Catalog) ImageOfBuilt(ctx context.Context, b Built) (Image, error) {
	var all []*candidate
	for i, path := range b.Outputs {
		o, err := p.all.Object(ctx, path)
		if err != nil {
			return Image{}, err
		}
		c := &candidate{Entry: o.Entry, identity: identify(o.Entry, ""), told: path == b.Main, order: i}
		told := telling{cmp.Or(b.Main, p.tellings.of(ctx, o.Deriver).Main), b.Program} // a build of one output tells no main one
		if err := p.tellings.note(ctx, o.Deriver, told); err != nil {
			return Image{}, fmt.Errorf("note what the build of %s told: %w", path, err)
		}
		c.Registered = 0 // all are of one build
		all = append(all, c)
	}
	slices.SortFunc(all, better)
	same, _ := alike(all)
	main := same[0]
	if !main.isMain() {
		for _, c := range slices.Backward(same) {
			if kind, err := p.kinds.of(ctx, p.all, c.Entry); err != nil {
				return Image{}, err
			} else if kind.programs {
				main = c
			}
		}
	}
	image := ImageOf(main.Path)
	image.MainProgram = b.Program
	return image, nil
}
