package draft

import (
	"cmp"
	"context"
	"slices"

	"github.com/nixreg/nixreg/manifest/dockertools"
	"github.com/nixreg/nixreg/manifest/document"
	"github.com/nixreg/nixreg/manifest/imagefile"
	"github.com/nixreg/nixreg/manifest/layer"
	"github.com/nixreg/nixreg/manifest/program"
	"github.com/nixreg/nixreg/store"
)

// Format is the version of what an image of packages is. The bytes of a format never change.
type Format int

const (
	// Format1 has nixpkgs' layers, and runs bin/<name> or the only program. Contents hide parts of the root.
	Format1 Format = 1
	// Format2 has the layers of Package.Layering, and runs the program that the package is called after, too. Parts of the root are
	// above the contents that would hide them.
	Format2 Format = 2
)

// Package is an image of packages that no file describes.
type Package struct {
	Format Format
	// Layering divides the store paths of Format2 into layers.
	Layering imagefile.Layering
	// Contents are linked into the root of the image, in order.
	Contents []store.Path
	// Program is the name of the program in bin/ that the image runs, if that file exists.
	Program string
	// Root has the parts of the layer of the root file system; if it is empty, the image has no such layer.
	Root []imagefile.RootPart
}

func (*Package) Architecture() string                            { return "" }
func (*Package) OfFile() bool                                    { return false }
func (*Package) Archive() (repoTag string, mtime int64, ok bool) { return "", 1, true }
func (p *Package) identify(id *identity) {
	id.Contents, id.Program, id.Root = p.Contents, p.Program, p.Root
	if p.Format != Format1 {
		id.Format, id.Layering = p.Format, p.Layering
	}
}

// InFormat1 returns definitions as Format1 has them, without those that do not depend on the format.
func InFormat1(defs []*Definition) (old []*Definition) {
	for _, d := range defs {
		d := *d
		switch k := d.Kind.(type) {
		case *Package:
			p := *k
			p.Format, p.Layering = Format1, ""
			d.Kind = &p
		case *File:
			if len(k.Root) == 0 && (!k.Args.IncludeNixDB || k.Args.Owner == layer.Root) {
				continue
			}
			f := *k
			f.InFormat1 = true
			d.Kind = &f
		default:
			continue
		}
		old = append(old, &d)
	}
	return old
}

func (p *Package) objects(ctx context.Context, e *Env) ([]*store.Object, error) {
	return store.Closure(ctx, e.Store, p.Contents...)
}

func (p *Package) Roots(context.Context, *Env) []store.Path { return slices.Clone(p.Contents) }

// draft plans the image as streamLayeredImage { contents; config = { Cmd; Env }; } does.
func (p *Package) draft(ctx context.Context, e *Env, closure []*store.Object) (*Image, error) {
	within := store.Within(e.Store, pathsOf(closure)...)
	arch, err := program.Architecture(ctx, within, p.Contents, closure)
	if err != nil {
		return nil, err
	}
	command, note, err := p.command(ctx, within)
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
	if p.Format == Format2 {
		args.Layering = p.Layering
	}
	plan := plan{args: args, contents: p.Contents, root: p.Root, closure: closure, format1: p.Format == Format1}
	b, err := plan.draft(ctx, within)
	if err != nil {
		return nil, err
	}
	b.image.CommandNote = note
	return b, nil
}

// command returns the program that the image runs. If there is none, note has the reason.
func (p *Package) command(ctx context.Context, s store.Store) (file, note string, err error) {
	file, note, err = program.Main(ctx, s, p.Contents, p.Program)
	if err != nil || file != "" || p.Format == Format1 || p.Program == "" {
		return file, note, err
	}
	if file, err = program.Called(ctx, s, p.Contents, p.Program); file != "" {
		note = ""
	}
	return file, note, err
}
