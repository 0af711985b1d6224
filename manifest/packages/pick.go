package packages

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/nixreg/nixreg/manifest/program"
	"github.com/nixreg/nixreg/store"
)

// maxSame bounds the paths of one name and version whose architectures are looked up, and the paths of a distant store that are
// looked at for one tag.
const maxSame = 32

// tagged returns the paths of a tag of a package, best first. All have the same version. An unavailable store is skipped for a tag
// that is a hash or a version. For latest it is an error, because the store may have a higher version.
func (p *Catalog) tagged(ctx context.Context, name, tag string) ([]*candidate, error) {
	unknown := UnknownTag(name, tag)
	for _, x := range p.index {
		n, err := x.named(ctx, name)
		if errors.Is(err, store.ErrUnavailable) && tag != Latest {
			unknown = err
			continue
		}
		if err != nil {
			return nil, err
		}
		found, err := p.pick(ctx, x, n, tag)
		if err != nil || len(found) > 0 {
			return found, err
		}
	}
	return nil, unknown
}

// pick returns the candidates of a tag, in the order of better.
func (p *Catalog) pick(ctx context.Context, x *packageIndex, n named, tag string) ([]*candidate, error) {
	if len(n.all) == 0 {
		return nil, nil
	}
	if tag == Latest {
		return p.latest(ctx, x, n)
	}
	if found := withTag(n.all, tag); len(found) > 0 {
		return p.look(ctx, x, found)
	}
	if tag == x.tag() {
		return p.latest(ctx, x, n)
	}
	return nil, nil
}

// withTag returns the candidate with the hash tag, or the candidates with the version tag.
func withTag(all []*candidate, tag string) []*candidate {
	if store.IsHash(tag) {
		for _, c := range all {
			if c.Path.Hash() == tag {
				return []*candidate{c}
			}
		}
	}
	var same []*candidate
	for _, c := range all {
		if c.tag() == tag {
			same = append(same, c)
		}
	}
	return same
}

// latest returns the directories of the highest version, of the output out if there is one.
func (p *Catalog) latest(ctx context.Context, x *packageIndex, n named) ([]*candidate, error) {
	if x.distant {
		return p.latestDistant(ctx, x, n)
	}
	dirs, err := p.look(ctx, x, n.all)
	if err != nil || len(dirs) == 0 {
		return nil, err
	}
	same, _ := alike(dirs)
	return same, nil
}

// latestDistant looks at the candidates of one version after the other until some are directories. If candidates have the name
// as an attribute, the others do not count.
func (p *Catalog) latestDistant(ctx context.Context, x *packageIndex, n named) ([]*candidate, error) {
	all := n.all
	if n.attributes > 0 {
		all = all[:n.attributes]
	}
	for looked := 0; len(all) > 0 && looked < maxSame; {
		same, rest := alike(all)
		found, err := p.lookDistant(ctx, x, same)
		if err != nil || len(found) > 0 {
			return found, err
		}
		looked += len(same)
		all = rest
	}
	return nil, nil
}

// look returns the candidates that are directories, in their order.
func (p *Catalog) look(ctx context.Context, x *packageIndex, all []*candidate) ([]*candidate, error) {
	if x.distant {
		return p.lookDistant(ctx, x, all)
	}
	return p.kinds.directories(ctx, x.store, all)
}

// lookDistant is look for the candidates of one version of a distant store or a channel. It asks all stores for them, because a
// near store may have them, and opens no sources. If a store is unavailable, or no store has a path of a channel, that is an
// error: a lower version must not be served instead.
func (p *Catalog) lookDistant(ctx context.Context, x *packageIndex, same []*candidate) ([]*candidate, error) {
	same = same[:min(len(same), maxSame)]
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // stops downloads that are not needed
	var offered []*candidate
	var objects []*store.Object
	var missing store.Path
	why := ""
	for _, c := range same {
		o, err := p.all.Object(ctx, c.Path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			missing, why = c.Path, reason(err)
		case err != nil:
			return nil, err
		case o.CA == "":
			offered, objects = append(offered, c), append(objects, o)
		}
	}
	p.kinds.fetchUnseen(ctx, p.all, objects)
	var out []*candidate
	for i, o := range objects {
		directory, err := p.kinds.isDirectory(ctx, p.all, o)
		switch {
		case errors.Is(err, fs.ErrNotExist): // the files are lost or were deleted
			missing, why = o.Path, ""
		case err != nil:
			return nil, err
		case directory:
			out = append(out, offered[i])
		}
	}
	if len(out) == 0 && missing != "" && x.channel != nil {
		text := fmt.Sprintf("%s of channel %s is in none of the stores", missing.Abs(), x.channel.Name())
		if why != "" {
			text += ": " + why
		}
		return nil, &absentError{text}
	}
	return out, nil
}

// platforms returns the best candidate of each architecture. "" is for candidates without programs.
func (p *Catalog) platforms(ctx context.Context, found []*candidate) (map[string]*candidate, error) {
	best := make(map[string]*candidate)
	var failed error
	for _, c := range found[:min(len(found), maxSame)] {
		arch, err := p.kinds.architecture(ctx, p.all, c.Path)
		if err != nil {
			if !IsUserError(err) {
				return nil, err
			}
			failed = err
			continue
		}
		if best[arch] == nil {
			best[arch] = c
		}
	}
	if len(best) == 0 {
		return nil, failed
	}
	return best, nil
}

// Restrict deletes the architectures that are not in to from platforms, unless to is empty. "", which has no programs, fits each
// architecture. If nothing is left, the error is about name and matches [fs.ErrNotExist].
func Restrict[T any](platforms map[string]T, to []string, name string) error {
	if len(to) == 0 {
		return nil
	}
	there := strings.Join(slices.Sorted(maps.Keys(platforms)), ", ")
	maps.DeleteFunc(platforms, func(arch string, _ T) bool { return arch != "" && !slices.Contains(to, arch) })
	if len(platforms) == 0 {
		return &absentError{fmt.Sprintf("%s is there for %s, and images are made for %s only", name, there, strings.Join(to, ", "))}
	}
	if len(platforms) > 1 && !slices.Contains(to, program.DefaultArchitecture) {
		delete(platforms, "") // it would be an image for the default architecture
	}
	return nil
}
