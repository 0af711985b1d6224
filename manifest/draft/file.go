package draft

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/nixreg/nixreg/manifest/dockertools"
	"github.com/nixreg/nixreg/manifest/fault"
	"github.com/nixreg/nixreg/manifest/finished"
	"github.com/nixreg/nixreg/manifest/imagefile"
	"github.com/nixreg/nixreg/manifest/program"
	"github.com/nixreg/nixreg/store"
)

// DockerTransport is the prefix of the name of a base image in a registry.
const DockerTransport = "docker://"

// File is an image of a definition file.
type File struct {
	// Contents are linked into the root of the image, in order.
	Contents []store.Path
	Args     *dockertools.Args
	// FoundArchitecture says that the architecture in Args was found in the programs, and is not given in the file.
	FoundArchitecture bool
	// Root has the parts of the layer of the root file system; if it is empty, the image has no such layer.
	Root []imagefile.RootPart
	// InFormat1 says that the image is as before format 2: contents hide parts of the root, and a Nix database is root's whatever the
	// owner in Args.
	InFormat1 bool
	// UnknownKeys are the positions of the keys of config that no client knows.
	UnknownKeys map[string]imagefile.Position
}

func (f *File) Architecture() string                            { return f.Args.Architecture }
func (f *File) OfFile() bool                                    { return true }
func (f *File) Archive() (repoTag string, mtime int64, ok bool) { return "", f.Args.MTime, true }
func (f *File) identify(id *identity) {
	id.Contents, id.Args, id.Root = f.Contents, f.Args, f.Root
	if f.InFormat1 {
		id.Format = Format1
	}
}

func (f *File) objects(ctx context.Context, e *Env) ([]*store.Object, error) {
	mentioned, err := MentionedPaths(ctx, e.Store, f.Args)
	if err != nil {
		return nil, err
	}
	objects, err := store.Closure(ctx, e.Store, slices.Concat(f.Contents, mentioned)...)
	if err != nil || f.Args.Base == "" {
		return objects, err
	}
	base, err := f.baseObject(ctx, e, objects)
	if err != nil {
		return nil, fmt.Errorf("fromImage: %w", err)
	}
	return append(objects, base), nil
}

// baseObject returns the object of the base image. It fetches a base image that is in a registry.
func (f *File) baseObject(ctx context.Context, e *Env, closure []*store.Object) (*store.Object, error) {
	name := f.Args.Base
	if !strings.HasPrefix(name, DockerTransport) {
		p, err := dockertools.StorePath(name)
		if err != nil {
			return nil, err
		}
		return e.Store.Object(ctx, p)
	}
	if e.Pull == nil {
		return nil, fmt.Errorf("%s: images of registries are not fetched here: %w", name, errors.ErrUnsupported)
	}
	arch, err := f.architecture(ctx, e, closure)
	if err != nil {
		return nil, err
	}
	file, err := e.Pull(ctx, name, v1.Platform{OS: "linux", Architecture: cmp.Or(arch, program.DefaultArchitecture), Variant: f.Args.Variant})
	if err != nil {
		return nil, fault.Phrase(err, "its base image cannot be fetched")
	}
	p, err := e.Host.Add(file)
	if err != nil {
		return nil, err
	}
	return e.Host.Object(ctx, p)
}

// architecture returns the architecture in the definition or, if it has none, the architecture of its programs; "" if there are no
// programs.
func (f *File) architecture(ctx context.Context, e *Env, closure []*store.Object) (string, error) {
	if f.Args.Architecture != "" {
		return f.Args.Architecture, nil
	}
	within := store.Within(e.Store, pathsOf(closure)...)
	mentioned, err := MentionedPaths(ctx, within, f.Args)
	if err != nil {
		return "", err
	}
	return program.Architecture(ctx, within, slices.Concat(f.Contents, mentioned), closure)
}

func (f *File) Roots(ctx context.Context, e *Env) []store.Path {
	base, _ := dockertools.StorePath(f.Args.Base) // "" for an image in a registry
	roots := append(slices.Clone(f.Contents), base)
	for hash := range f.Args.Mentioned() {
		p, _ := e.Store.Find(ctx, hash)
		roots = append(roots, p)
	}
	return roots
}

func (f *File) draft(ctx context.Context, e *Env, objects []*store.Object) (*Image, error) {
	closure, args := objects, *f.Args
	if args.Base != "" {
		closure = objects[:len(objects)-1]
	}
	var err error
	if args.Architecture, err = f.architecture(ctx, e, closure); err != nil {
		return nil, err
	}
	plan := plan{args: &args, contents: f.Contents, root: f.Root, named: true, closure: closure, format1: f.InFormat1}
	if args.Base != "" {
		plan.base, err = finished.OpenBase(ctx, e.Layers, objects[len(closure)], cmp.Or(args.Architecture, program.DefaultArchitecture))
		if err != nil {
			return nil, fmt.Errorf("fromImage: %w", err)
		}
		if err := args.SettleArchitecture(plan.base.Architecture(), f.Args.Architecture != "" && !f.FoundArchitecture); err != nil {
			return nil, err
		}
	}
	args.Architecture = cmp.Or(args.Architecture, program.DefaultArchitecture)
	within := store.Within(e.Store, pathsOf(closure)...)
	b, err := plan.draft(ctx, within)
	if err != nil {
		return nil, err
	}
	b.warnOfKeys(f.UnknownKeys)
	if plan.base == nil {
		err = b.warnOfConfig(ctx, within, f.Contents)
	}
	return b, err
}

// MentionedPaths returns the store paths that the config mentions, sorted by hash. If a path is not valid, the error names the path
// and matches [fs.ErrNotExist].
func MentionedPaths(ctx context.Context, s store.Store, a *dockertools.Args) ([]store.Path, error) {
	mentioned := a.Mentioned()
	var out []store.Path
	for _, hash := range slices.Sorted(maps.Keys(mentioned)) {
		text := mentioned[hash]
		p, err := s.Find(ctx, hash)
		switch {
		case errors.Is(err, fs.ErrNotExist) || err == nil && !strings.HasPrefix(text, string(p)):
			absent := fault.Absent(fmt.Sprintf("config mentions %s/%s, which is not valid in the store", store.Dir, dockertools.PathIn(text)))
			return nil, fault.Phrase(absent, "config mentions a store path that is not valid")
		case err != nil:
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}
