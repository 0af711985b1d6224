package catalog

import (
	"context"
	"fmt"
	"io/fs"
	"iter"
	"path"
	"slices"
	"strings"
	"unicode"

	"github.com/nixreg/nixreg/manifest/packages"
	"github.com/nixreg/nixreg/store"
)

// Offer is a repository that clients can pull.
type Offer struct {
	Name string `json:"name"`
	// Tags are sorted with latest first, then the highest version. They do not include tags that are hashes of store paths.
	Tags []string `json:"tags"`
	// Architectures are given only if they are known without a download.
	Architectures []string `json:"architectures,omitempty"`
}

// Offers lists the repositories that clients can pull, sorted by name. Without a pattern these are the repositories of
// [Catalog.Repositories]. A pattern with *, ? or [ matches whole names. Any other pattern matches a part of a name. With a
// pattern, packages without programs are found, too. For a malformed pattern the error matches [fs.ErrInvalid]. The loop ends at
// an error.
func (s *Catalog) Offers(ctx context.Context, pattern string) iter.Seq2[Offer, error] {
	return func(yield func(Offer, error) bool) {
		match, err := matcher(pattern)
		var names []string
		if err == nil {
			names, err = s.offered(ctx, pattern != "", match)
		}
		if err != nil {
			yield(Offer{}, err)
			return
		}
		for _, name := range names {
			o, err := s.offer(ctx, name)
			if packages.IsUserError(err) { // the repository cannot be served as an image
				continue
			}
			if !yield(o, err) || err != nil {
				return
			}
		}
	}
}

// offered returns the matching names of [Catalog.Offers].
func (s *Catalog) offered(ctx context.Context, all bool, match func(string) bool) ([]string, error) {
	names, err := s.Repositories(ctx)
	if err == nil && all {
		var more []string
		more, err = s.builds.packages.Names(ctx)
		names = append(names, more...)
	}
	names = slices.DeleteFunc(names, func(name string) bool { return !match(name) })
	slices.Sort(names)
	return slices.Compact(names), err
}

// matcher returns a function that reports whether a name matches a pattern.
func matcher(pattern string) (func(string) bool, error) {
	pattern = strings.ToLower(strings.TrimSpace(pattern))
	if strings.ContainsFunc(pattern, unicode.IsControl) {
		return nil, fmt.Errorf("pattern %.100q has control characters: %w", pattern, fs.ErrInvalid)
	}
	if !strings.ContainsAny(pattern, `*?[\`) {
		return func(name string) bool { return strings.Contains(name, pattern) }, nil
	}
	flat := strings.NewReplacer("/", "\x00") // * matches slashes, too
	pattern = flat.Replace(pattern)
	if _, err := path.Match(pattern, ""); err != nil {
		return nil, fmt.Errorf("pattern %.100q: want a part of a name, or a name with *, ? and [a-z]: %w", pattern, fs.ErrInvalid)
	}
	return func(name string) bool {
		ok, err := path.Match(pattern, flat.Replace(name))
		return ok && err == nil
	}, nil
}

func (s *Catalog) offer(ctx context.Context, name string) (Offer, error) {
	c, err := owner(ctx, s.providers, name)
	if err != nil {
		return Offer{}, err
	}
	o := Offer{Name: name}
	if o.Tags, err = c.Tags(ctx, name); err != nil {
		return o, err
	}
	o.Tags = slices.DeleteFunc(o.Tags, store.IsHash)
	slices.SortStableFunc(o.Tags, newerTag)
	if m, ok := c.(*images); ok {
		o.Architectures = m.architectures(ctx, name)
	} else if o.Architectures, err = s.builds.packages.NearArchitectures(ctx, name); packages.IsUserError(err) {
		err = nil // for example a program for macOS: only a pull of it is an error
	}
	return o, err
}

// architectures returns the architectures that the definitions of a repository set.
func (m *images) architectures(ctx context.Context, repository string) (all []string) {
	e, err := m.entry(ctx, repository)
	if err != nil {
		return nil
	}
	for _, images := range e.tags {
		for _, i := range images {
			if i.Architecture != "" {
				all = append(all, i.Architecture)
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// Example returns a name that clients can pull now: hello if it exists, else the first name of the list; "" if there are no
// names.
func (s *Catalog) Example(ctx context.Context) (string, error) {
	const first = "hello"
	if _, err := owner(ctx, s.providers, first); err == nil {
		if o, err := s.offer(ctx, first); err == nil && len(o.Tags) > 0 {
			return first, nil
		}
	}
	files, err := s.images.Repositories(ctx)
	if err != nil {
		return "", err
	}
	named, err := s.builds.packages.FirstWithPrograms(ctx)
	if names := append(files[:min(len(files), 1)], named...); len(names) > 0 {
		return slices.Min(names), nil
	}
	return "", err
}
