package catalog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/nixreg/nixreg/manifest/dockertools"
	"github.com/nixreg/nixreg/manifest/draft"
	"github.com/nixreg/nixreg/manifest/fault"
	"github.com/nixreg/nixreg/manifest/imagefile"
	"github.com/nixreg/nixreg/manifest/packages"
	"github.com/nixreg/nixreg/manifest/program"
	"github.com/nixreg/nixreg/store"
)

// resolver turns the images of definition files into definitions: it finds the store paths.
type resolver struct {
	env       *draft.Env
	builds    *builds   // packages, and attributes to build
	suggester suggester // suggests names of packages
}

// definitions returns the definitions for the images of one name and tag, one for each platform, sorted by platform.
func (r *resolver) definitions(ctx context.Context, images []*imagefile.Image) ([]*draft.Definition, error) {
	var out []*draft.Definition
	for _, m := range images {
		d, err := r.definition(ctx, m)
		if err != nil {
			return nil, r.env.Placed(m.At, err)
		}
		out = append(out, d)
	}
	if len(out) > 1 {
		return out, r.platforms(ctx, out)
	}
	return out, nil
}

func (r *resolver) definition(ctx context.Context, m *imagefile.Image) (*draft.Definition, error) {
	args, err := dockertools.ArgsOf(m)
	if err != nil {
		return nil, err
	}
	if args.Base, err = r.base(m.FromImage); err != nil {
		return nil, fmt.Errorf("fromImage: %w", err)
	}
	contents, err := r.contents(ctx, m)
	kind := &draft.File{Contents: contents, Args: args, Root: m.Root, UnknownKeys: m.UnknownKeys}
	return &draft.Definition{Title: m.Repository(), Version: m.Tag, At: m.At, Kind: kind}, err
}

// base returns the store path of a base image. A base image in a registry keeps its name. A file outside of the store gets a
// path in the store of host files.
func (r *resolver) base(name string) (string, error) {
	if name == "" || strings.HasPrefix(name, draft.DockerTransport) {
		return name, nil
	}
	if p, rest, err := store.ParseAbs(name); err == nil && rest == "" {
		return p.Abs(), nil
	}
	p, err := r.hostPath(name)
	if pathErr := (*fs.PathError)(nil); errors.As(err, &pathErr) {
		err = fmt.Errorf("%s: %w", filepath.Base(name), pathErr.Err) // clients need not know the directory
	}
	if err != nil {
		return "", err
	}
	return p.Abs(), nil
}

// hostPath returns a store path for a file. For a link into the store it returns the path that the link leads to.
func (r *resolver) hostPath(name string) (store.Path, error) {
	abs, err := filepath.Abs(name)
	if err != nil {
		return "", err
	}
	real, err := filepath.EvalSymlinks(abs)
	if err != nil { // the path may be in a remote store
		if target, failed := os.Readlink(abs); failed == nil {
			real, err = target, nil
		}
	}
	if err != nil {
		return "", err
	}
	if p, rest, err := store.ParseAbs(real); err == nil && rest == "" {
		return p, nil
	}
	return r.env.Host.Add(real)
}

// contents finds the store paths of an image's contents. If a package has several architectures, contents takes the architecture
// of the image. If the image sets none, contents takes an architecture that all packages have.
func (r *resolver) contents(ctx context.Context, m *imagefile.Image) ([]store.Path, error) {
	choices := make([]map[string][]store.Path, len(m.Contents))
	var faults []error
	for i, c := range m.Contents {
		var err error
		if choices[i], err = r.choices(ctx, c.Text, m.Architecture); err != nil {
			faults = append(faults, r.env.Placed(c.At, err))
		}
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	arch := cmp.Or(m.Architecture, commonArchitecture(choices))
	var out []store.Path
	for i, c := range m.Contents {
		paths, ok := choices[i][arch]
		if !ok {
			paths, ok = choices[i][""]
		}
		if !ok {
			there := strings.Join(slices.Sorted(maps.Keys(choices[i])), ", ")
			absent := fault.Absent(fmt.Sprintf("%s is in the store for %s, not for %s", c.Text, there, arch))
			return nil, r.env.Placed(c.At, fault.Phrase(absent, "it is in the store for another architecture"))
		}
		out = append(out, paths...)
	}
	return out, nil
}

// choices returns the store paths for one entry of the contents, by architecture; paths under "" fit every architecture. It
// builds a package that no store has, for arch if arch is not "".
func (r *resolver) choices(ctx context.Context, text, arch string) (map[string][]store.Path, error) {
	if !strings.HasPrefix(text, "/") {
		repository, tag, ok := strings.Cut(text, ":")
		if !ok {
			tag = packages.Latest
		}
		found, err := r.builds.byArchitecture(ctx, repository, tag, arch)
		if packages.IsUnknown(err) {
			if meant := r.suggester.meant(ctx, repository); meant != "" && meant != repository {
				err = packages.Unknown(fmt.Sprintf("%v: did you mean %s?", err, meant))
			}
		}
		return found, err
	}
	p, err := dockertools.StorePath(text)
	if err != nil {
		return nil, err
	}
	if _, err := r.env.Store.Object(ctx, p); errors.Is(err, fs.ErrNotExist) {
		return nil, fault.Phrase(fault.Absent(text+" is not valid in the store"), "a store path that is not valid")
	} else if err != nil {
		return nil, err
	}
	return map[string][]store.Path{"": {p}}, nil
}

// commonArchitecture returns an architecture that all choices have: the default one if possible, else the first by name.
func commonArchitecture(choices []map[string][]store.Path) string {
	all := map[string]bool{}
	for _, c := range choices {
		for arch := range c {
			all[arch] = true
		}
	}
	candidates := append([]string{program.DefaultArchitecture}, slices.Sorted(maps.Keys(all))...)
	for _, arch := range candidates {
		if arch != "" && !slices.ContainsFunc(choices, func(c map[string][]store.Path) bool { return c[arch] == nil && c[""] == nil }) {
			return arch
		}
	}
	return program.DefaultArchitecture
}

// platforms finds the architectures that the definitions do not set, because the children of an index must have different
// platforms. Then it sorts the definitions by platform.
func (r *resolver) platforms(ctx context.Context, defs []*draft.Definition) error {
	for _, d := range defs {
		f := d.Kind.(*draft.File)
		if f.Args.Architecture != "" {
			continue
		}
		mentioned, err := draft.MentionedPaths(ctx, r.env.Store, f.Args)
		if err == nil {
			f.Args.Architecture, err = r.builds.packages.Architecture(ctx, slices.Concat(f.Contents, mentioned))
		}
		f.FoundArchitecture = true
		if err == nil && f.Args.Architecture == "" {
			err = fmt.Errorf("no program tells its architecture: set one, as others have the same name and tag: %w", fs.ErrInvalid)
		}
		if err != nil {
			return r.env.Placed(d.At, err)
		}
	}
	slices.SortStableFunc(defs, comparePlatforms)
	for i, d := range defs[1:] {
		if comparePlatforms(defs[i], d) == 0 {
			text := fmt.Sprintf("its programs are for %s, as those of the image of the same name and tag on line %d", d.Kind.Architecture(), defs[i].At.Line)
			return r.env.Placed(d.At, fmt.Errorf("%s: %w", text, fs.ErrInvalid))
		}
	}
	return nil
}

func comparePlatforms(a, b *draft.Definition) int {
	x, y := a.Kind.(*draft.File).Args, b.Kind.(*draft.File).Args
	return cmp.Or(cmp.Compare(x.Architecture, y.Architecture), cmp.Compare(x.Variant, y.Variant))
}
