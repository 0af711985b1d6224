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

// quality says what the paths of a tag are to the package. A higher one is better.
type quality int

const (
	manual  quality = iota // other outputs than main ones, without programs
	tools                  // other outputs than main ones, with programs
	library                // main outputs without programs
	likely                 // main outputs whose files were not looked at
	runs                   // main outputs with programs, and paths that a tag names exactly
)

// tagged returns the paths of a tag of a package, best first. All have the same version. An unavailable store is skipped for a tag
// that is a hash or a version. For latest it is an error, because the store may have a higher version.
//
// The first index that knows the tag answers. But if a store has only the library or the manual of a package, a later index that has
// the programs answers.
func (p *Catalog) tagged(ctx context.Context, name, tag string) ([]*candidate, error) {
	unknown := UnknownTag(name, tag)
	var best []*candidate
	var is quality
	for _, x := range p.index {
		n, err := x.named(ctx, name)
		var found []*candidate
		var q quality
		if err == nil {
			found, q, err = p.pick(ctx, x, n, tag)
		} else if errors.Is(err, store.ErrUnavailable) && tag != Latest {
			unknown = err
			continue
		}
		switch {
		case err != nil && best == nil:
			return nil, err
		case err != nil || len(found) == 0:
		case q == runs || q == likely && (best == nil || is < library):
			return found, nil
		case best == nil || q == library && is < library:
			best, is = found, q
		}
	}
	if best == nil {
		return nil, unknown
	}
	return best, nil
}

// pick returns the candidates of a tag, in the order of better.
func (p *Catalog) pick(ctx context.Context, x *packageIndex, n named, tag string) ([]*candidate, quality, error) {
	if tag == Latest {
		return p.latest(ctx, x, n)
	}
	if exact := withHash(n.all, tag); exact != nil {
		found, err := p.look(ctx, x, exact)
		return found, runs, err
	}
	if found, q, err := p.version(ctx, x, n, tag); err != nil || len(found) > 0 {
		return found, q, err
	}
	var same []*candidate
	for _, c := range n.all {
		if c.outputTag() == tag {
			same = append(same, c)
		}
	}
	if len(same) > 0 {
		found, err := p.look(ctx, x, same)
		return found, runs, err
	}
	if tag == x.tag() {
		found, _, err := p.latest(ctx, x, n)
		return found, runs, err
	}
	return nil, manual, nil
}

// withHash returns the candidate with a hash tag, or nil.
func withHash(all []*candidate, tag string) []*candidate {
	if !store.IsHash(tag) {
		return nil
	}
	i := slices.IndexFunc(all, func(c *candidate) bool { return c.Path.Hash() == tag })
	if i < 0 {
		return nil
	}
	return all[i : i+1]
}

// version returns the main outputs of the version with a tag.
func (p *Catalog) version(ctx context.Context, x *packageIndex, n named, tag string) ([]*candidate, quality, error) {
	var same []*candidate
	for _, c := range n.all {
		if c.versionTag() == tag && (len(same) == 0 || c.isMain() == same[0].isMain()) {
			same = append(same, c)
		}
	}
	found, q, err := p.mains(ctx, x, same, n.all)
	if q == manual {
		found = nil
	}
	return found, q, err
}

// latest returns the main outputs of the highest version that has programs, or else of the highest version. If candidates of a channel
// have the name as an attribute, the others do not count.
func (p *Catalog) latest(ctx context.Context, x *packageIndex, n named) (best []*candidate, is quality, err error) {
	all := n.all
	if n.attributes > 0 {
		all = all[:n.attributes]
	}
	among := all
	for looked := 0; len(all) > 0 && (!x.distant || looked < maxSame); {
		same, rest := alike(all)
		if best != nil && is == library && !same[0].isMain() {
			break
		}
		found, q, err := p.mains(ctx, x, same, among)
		if err != nil {
			return nil, q, err
		}
		if len(found) > 0 && q >= likely {
			return found, q, nil
		}
		if len(found) > 0 && (best == nil || q > is) {
			best, is = found, q
		}
		looked += len(same)
		all = rest
	}
	return best, is, nil
}

// mains returns the main output of each build of one version, those with programs first. If no output is a main one, it returns the
// outputs with programs, or all if none has any. among has all candidates of the name: one in the output bin shows that the output out
// of the package is a library.
func (p *Catalog) mains(ctx context.Context, x *packageIndex, same, among []*candidate) ([]*candidate, quality, error) {
	found, err := p.look(ctx, x, p.choose(ctx, same, among))
	if err != nil || len(found) == 0 {
		return nil, manual, err
	}
	beforeOut := func(c *candidate) bool { return c.rank() < rankOut }
	if x.distant && found[0].isMain() {
		switch {
		case slices.ContainsFunc(found, beforeOut):
			return found, runs, nil
		case !slices.ContainsFunc(among, beforeOut):
			return found, likely, nil
		}
	}
	var with, others []*candidate
	for _, c := range found {
		programs, err := p.hasPrograms(ctx, x, c)
		if err != nil {
			return nil, manual, err
		}
		if programs || c.rank() == rankTold {
			with = append(with, c)
		} else {
			others = append(others, c)
		}
	}
	switch main := found[0].isMain(); {
	case main && with == nil:
		return found, library, nil
	case main:
		return append(with, others...), runs, nil
	case with == nil:
		return found, manual, nil
	}
	return with, tools, nil
}

// choose returns the output of each build that a bare name means by the names of the outputs: told, bin or out. It returns all outputs
// of a build that has none of these.
func (p *Catalog) choose(ctx context.Context, same, among []*candidate) []*candidate {
	var out []*candidate
	for len(same) > 0 {
		n := 1
		for n < len(same) && same[n].build == same[0].build {
			n++
		}
		if told := p.told(ctx, same[0].Deriver, among); told != nil {
			out = append(out, told)
		} else {
			for _, c := range same[:n] {
				if !c.isMain() || c.rank() == same[0].rank() {
					out = append(out, c)
				}
			}
		}
		same = same[n:]
	}
	return out
}

// hasPrograms reports whether a path has a directory bin.
func (p *Catalog) hasPrograms(ctx context.Context, x *packageIndex, c *candidate) (bool, error) {
	if !x.distant {
		kind, err := p.kinds.of(ctx, x.store, c.Entry)
		return kind.programs, err
	}
	o, err := p.all.Object(ctx, c.Path)
	if err != nil {
		return false, err
	}
	return p.kinds.hasPrograms(ctx, p.all, o)
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
	var known []*candidate
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
		case offered(o.Entry):
			known, objects = append(known, c), append(objects, o)
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
			out = append(out, known[i])
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
