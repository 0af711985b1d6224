package draft

import (
	"cmp"
	"context"
	"slices"

	"github.com/nixreg/nixreg/manifest/dockertools"
	"github.com/nixreg/nixreg/manifest/document"
	"github.com/nixreg/nixreg/manifest/imagefile"
	"github.com/nixreg/nixreg/manifest/program"
	"github.com/nixreg/nixreg/store"
)

// Package is an image of packages that no file describes.
type Package struct {
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
	command, note, err := program.Main(ctx, within, p.Contents, p.Program)
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
	plan := plan{args: args, contents: p.Contents, root: p.Root, closure: closure}
	b, err := plan.draft(ctx, within)
	if err != nil {
		return nil, err
	}
	b.image.CommandNote = note
	return b, nil
}
