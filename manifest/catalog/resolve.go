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
	"github.com/nixreg/nixreg/manifest/fault"
	"github.com/nixreg/nixreg/manifest/imagefile"
	"github.com/nixreg/nixreg/manifest/packages"
	"github.com/nixreg/nixreg/manifest/program"
	"github.com/nixreg/nixreg/store"
)

// DockerTransport starts the name of a base image that a registry has.
const DockerTransport = "docker://"

// resolver makes definitions of what definition files say: it finds the store paths.
type resolver struct {
	store     store.Store
	builds    *builds // packages, and what can be built
	host      hostFiles
	suggester suggester // of packages
	// wholeNames lets errors tell where a definition file is. Clients need not know.
	wholeNames bool
}

// hostFiles makes paths of the store of files outside of it.
type hostFiles interface {
	Add(name string) (store.Path, error)
}

// definitions returns those of the images of one name and tag, one for each platform, in the order of platforms.
func (r *resolver) definitions(ctx context.Context, images []*imagefile.Image) ([]*Definition, error) {
	var out []*Definition
	for _, m := range images {
		d, err := r.definition(ctx, m)
		if err != nil {
			return nil, r.placed(m.At, err)
		}
		out = append(out, d)
	}
	if len(out) > 1 {
		return out, r.platforms(ctx, out)
	}
	return out, nil
}

func (r *resolver) definition(ctx context.Context, m *imagefile.Image) (*Definition, error) {
	args, err := dockertools.ArgsOf(m)
	if err != nil {
		return nil, err
	}
	if args.Base, err = r.base(m.FromImage); err != nil {
		return nil, fmt.Errorf("fromImage: %w", err)
	}
	d := &Definition{Title: m.Repository(), Version: m.Tag, Args: args, Root: m.Root, At: m.At, unknownKeys: m.UnknownKeys}
	d.Contents, err = r.contents(ctx, m)
	return d, err
}

// base names the base image in the store, if it is a file outside of it.
func (r *resolver) base(name string) (string, error) {
	if name == "" || strings.HasPrefix(name, DockerTransport) {
		return name, nil
	}
	if p, rest, err := store.ParseAbs(name); err == nil && rest == "" {
		return p.Abs(), nil
	}
	p, err := r.hostPath(name)
	if pathErr := (*fs.PathError)(nil); errors.As(err, &pathErr) {
		err = fmt.Errorf("%s: %w", filepath.Base(name), pathErr.Err) // clients need not know where it is
	}
	if err != nil {
		return "", err
	}
	return p.Abs(), nil
}

// hostPath makes a store path of a file. One that is a link into the store is what it leads to.
func (r *resolver) hostPath(name string) (store.Path, error) {
	abs, err := filepath.Abs(name)
	if err != nil {
		return "", err
	}
	real, err := filepath.EvalSymlinks(abs)
	if err != nil { // the store's files may lie elsewhere
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
	return r.host.Add(real)
}

// contents finds the store paths of an image's contents. Packages that are there for several architectures are taken for
// the image's; if it has none, for one that all are there for.
func (r *resolver) contents(ctx context.Context, m *imagefile.Image) ([]store.Path, error) {
	choices := make([]map[string][]store.Path, len(m.Contents))
	var faults []error
	for i, c := range m.Contents {
		var err error
		if choices[i], err = r.choices(ctx, c.Text, m.Architecture); err != nil {
			faults = append(faults, r.placed(c.At, err))
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
			return nil, r.placed(c.At, fault.Phrase(absent, "it is in the store for another architecture"))
		}
		out = append(out, paths...)
	}
	return out, nil
}

// choices returns what one of the contents stands for, by architecture: "" goes with each. What no store has is built, for
// arch if that is not "".
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
	if _, err := r.store.Object(ctx, p); errors.Is(err, fs.ErrNotExist) {
		return nil, fault.Phrase(fault.Absent(text+" is not valid in the store"), "a store path that is not valid")
	} else if err != nil {
		return nil, err
	}
	return map[string][]store.Path{"": {p}}, nil
}

// commonArchitecture is one for which all choices have something: the default one, or else the first by name.
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

// platforms finds the architectures that are not given, as the children of an index must have different ones, and sorts
// by them.
func (r *resolver) platforms(ctx context.Context, defs []*Definition) error {
	for _, d := range defs {
		if d.Args.Architecture != "" {
			continue
		}
		mentioned, err := MentionedPaths(ctx, r.store, d.Args)
		if err == nil {
			d.Args.Architecture, err = r.builds.packages.Architecture(ctx, slices.Concat(d.Contents, mentioned))
		}
		d.ArchFound = true
		if err == nil && d.Args.Architecture == "" {
			err = fmt.Errorf("no program tells its architecture: set one, as others have the same name and tag: %w", fs.ErrInvalid)
		}
		if err != nil {
			return r.placed(d.At, err)
		}
	}
	slices.SortStableFunc(defs, comparePlatforms)
	for i, d := range defs[1:] {
		if comparePlatforms(defs[i], d) == 0 {
			text := fmt.Sprintf("its programs are for %s, as those of the image of the same name and tag on line %d", d.Args.Architecture, defs[i].At.Line)
			return r.placed(d.At, fmt.Errorf("%s: %w", text, fs.ErrInvalid))
		}
	}
	return nil
}

func comparePlatforms(a, b *Definition) int {
	return cmp.Or(cmp.Compare(a.Args.Architecture, b.Args.Architecture), cmp.Compare(a.Args.Variant, b.Args.Variant))
}

// placed adds the position of a definition to err, unless err has one.
func (r *resolver) placed(at imagefile.Position, err error) error {
	if !r.wholeNames {
		at.File = filepath.Base(at.File)
	}
	return fault.Place(at.String(), err)
}

// MentionedPaths returns the store paths that the config mentions, sorted by hash. One that is not valid gives an error that names
// it and matches [fs.ErrNotExist].
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
