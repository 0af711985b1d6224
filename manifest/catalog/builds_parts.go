package catalog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/nixreg/nixreg/internal/flight"
	"github.com/nixreg/nixreg/internal/oci"
	"github.com/nixreg/nixreg/manifest/packages"
	"github.com/nixreg/nixreg/store"
)

const (
	// maxParts bounds how many components of one name are built at the same time.
	maxParts = 8
	// shellProgram is the program that images under shell/… run.
	shellProgram = "bash"
)

// supply is the source of one component of a name: a package, or an attribute to build.
type supply struct {
	name  string // as the client spelled it; definitions spell attributes as Nix does
	attr  string // "" for the package called name
	shell bool   // the supply is part of shell, and not a component of the name
}

// supplies finds the source of each component of a name. The supplies of shell come first, the others are sorted by name. If
// attributes is set, attributes are preferred to packages. For an unknown component, [packages.IsUnknown] reports true for the
// error.
func (b *builds) supplies(ctx context.Context, repository string, attributes bool) ([]supply, error) {
	unknown := packages.UnknownRepository(repository)
	names := strings.Split(repository, "/")
	if len(names) > packages.MaxComponents || packages.Reserved(packages.RepositoryName(names[0])) && names[0] != packages.Shell {
		return nil, unknown
	}
	var list []supply
	var err error
	if names[0] == packages.Shell {
		if list, err = b.shell(ctx, attributes); err != nil {
			return nil, missing(err, unknown, "")
		}
		names = names[1:]
	}
	slices.SortFunc(names, func(x, y string) int {
		return cmp.Or(strings.Compare(packages.PulledName(x), packages.PulledName(y)), strings.Compare(x, y))
	})
	for _, name := range slices.Compact(names) {
		s, err := b.supply(ctx, name, attributes)
		if packages.IsUnknown(err) && name == repository {
			return nil, unknown
		}
		if err != nil {
			return nil, missing(err, unknown, name)
		}
		list = append(list, s)
	}
	return list, nil
}

// missing returns err. But if err says that a component of a name is unknown, missing returns an error about the whole name that
// gives the reason. part is the unknown component.
func missing(err, unknown error, part string) error {
	switch {
	case !packages.IsUnknown(err):
		return err
	case part == "": // err gives the reason
		return packages.Unknown(fmt.Sprintf("%v: %v", unknown, err))
	}
	return packages.Unknown(fmt.Sprintf("%v: there is no package %s", unknown, part))
}

// shell returns the supplies of shell: an interactive bash, and coreutils. The package bash-interactive of nixpkgs has an
// attribute with another name.
func (b *builds) shell(ctx context.Context, attributes bool) ([]supply, error) {
	names := []string{"bash-interactive", "bashinteractive", "bash"}
	if attributes {
		names[0], names[1] = names[1], names[0]
	}
	var interactive supply
	var err error
	for _, name := range names {
		if interactive, err = b.supply(ctx, name, attributes); !packages.IsUnknown(err) {
			break
		}
	}
	lacks := "bash"
	var coreutils supply
	if err == nil {
		lacks = "coreutils"
		coreutils, err = b.supply(ctx, lacks, attributes)
	}
	if packages.IsUnknown(err) {
		err = packages.Unknown(fmt.Sprintf("%s needs bash and coreutils, and there is no package %s", packages.Shell, lacks))
	}
	interactive.shell, coreutils.shell = true, true
	return []supply{interactive, coreutils}, err
}

func (b *builds) supply(ctx context.Context, name string, attributes bool) (supply, error) {
	if attributes {
		if s, err := b.attribute(ctx, name); !packages.IsUnknown(err) {
			return s, err
		}
	}
	known, err := b.packages.Known(ctx, packages.PulledName(name))
	if err != nil || known {
		return supply{name: name}, err
	}
	return b.attribute(ctx, name)
}

func (b *builds) attribute(ctx context.Context, name string) (supply, error) {
	if b.builder == nil || len(name) > oci.MaxName {
		return supply{}, packages.UnknownRepository(name)
	}
	attr, err := b.builder.Find(ctx, name)
	if errors.Is(err, fs.ErrNotExist) {
		err = packages.UnknownRepository(name)
	}
	return supply{name: name, attr: attr}, err
}

// title returns the common name of supplies. It does not depend on the order in the client's request.
func title(list []supply) string {
	var names []string
	for _, s := range list {
		if !s.shell {
			names = append(names, packages.PulledName(s.name))
		}
	}
	if list[0].shell {
		names = slices.Insert(names, 0, packages.Shell)
	}
	return strings.Join(names, "/")
}

// joined returns one image of several supplies for each architecture that all of them have. It builds attributes for each of
// archs, or for the builder's own architecture if archs is empty.
func (b *builds) joined(ctx context.Context, title string, list []supply, archs []string) ([]packages.Image, error) {
	parts := make([]packages.Part, len(list))
	g, within := errgroup.WithContext(ctx)
	g.SetLimit(maxParts)
	for i, s := range list {
		g.Go(flight.Guarded(func() (err error) {
			parts[i], err = b.part(within, s, archs)
			return err
		}))
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	images, err := packages.Compose(title, parts, archs)
	for i := range images {
		images[i].Contents = distinct(images[i].Contents)
	}
	return images, err
}

// distinct returns paths without repeated paths.
func distinct(paths []store.Path) []store.Path {
	var out []store.Path
	for _, p := range paths {
		if !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	return out
}

// part returns the paths of one supply. It builds a package if the stores have only its name.
func (b *builds) part(ctx context.Context, s supply, archs []string) (packages.Part, error) {
	if s.attr == "" {
		p, err := b.packages.Part(ctx, packages.PulledName(s.name))
		if !packages.IsUnknown(err) {
			return p, err
		}
		var failed error
		if s, failed = b.attribute(ctx, s.name); packages.IsUnknown(failed) {
			return nil, err
		} else if failed != nil {
			return nil, failed
		}
	}
	built, err := b.outputs(ctx, s.attr, archs)
	if err != nil {
		return nil, err
	}
	out := make(packages.Part)
	for _, m := range built {
		if whole, err := b.wholeImage(ctx, m.Contents[0]); err != nil || whole {
			return nil, orWhole(err, s.name)
		}
		arch, err := b.packages.Architecture(ctx, m.Contents)
		if err != nil {
			return nil, err
		}
		if out[arch] == nil {
			out[arch] = m.Contents
		}
	}
	return out, nil
}

func orWhole(err error, name string) error {
	if err == nil {
		err = fmt.Errorf("%.100q is a file or an image when it is built, and no package: it cannot be part of another image: %w", name, fs.ErrInvalid)
	}
	return err
}
