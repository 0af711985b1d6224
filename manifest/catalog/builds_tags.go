package catalog

import (
	"context"
	"errors"
	"slices"

	"github.com/nixreg/nixreg/manifest/packages"
	"github.com/nixreg/nixreg/store"
)

// Tags returns the tags of the packages, and the tags under which the builder gives a result. It does not build a whole image to
// read the image's own tags.
func (b *builds) Tags(ctx context.Context, repository string) ([]string, error) {
	owned, err := b.packages.Owns(ctx, repository)
	if err != nil {
		return nil, err
	}
	var tags []string
	unknown := packages.UnknownRepository(repository)
	if owned {
		if tags, unknown = b.packages.Tags(ctx, repository); unknown != nil && !packages.IsUnknown(unknown) {
			return nil, unknown
		}
		if b.builder == nil {
			return tags, unknown
		}
	}
	list, err := b.supplies(ctx, repository, b.ref != "" || owned)
	switch {
	case err == nil && (!owned || list[0].attr != ""):
		tags = append(tags, b.tags(ctx, repository, list)...)
	case err != nil && !packages.IsUnknown(err) && (!owned || unknown != nil):
		return nil, err
	}
	if len(tags) == 0 {
		return nil, unknown
	}
	slices.Sort(tags)
	return slices.Compact(tags), nil
}

func (b *builds) tags(ctx context.Context, repository string, list []supply) []string {
	tags := []string{packages.Latest}
	if b.ref != "" && !fixed(list) {
		tags = append(tags, b.ref)
	}
	if list[0].shell || len(list) > 1 || list[0].attr == "" || !b.isImage(ctx, list[0].attr) {
		return tags
	}
	for _, arch := range append([]string{""}, b.archs...) {
		a, ok := b.results.Get(order{list[0].attr, arch})
		if !ok {
			continue
		}
		if own, err := b.files.fileTags(ctx, repository, a.paths[0].Abs()); err == nil { // a pull of the image returns the error
			tags = append(tags, own...)
		}
	}
	return tags
}

// Newest returns the newest tags of the packages, and a tag for an image that this process has built. It builds nothing: a
// request for an unknown digest must not start a build, which could take hours and give another digest. Results of earlier
// processes are found as packages, or under the tag of the builder's source.
func (b *builds) Newest(ctx context.Context, repository string, n int) ([]string, error) {
	owned, err := b.packages.Owns(ctx, repository)
	if err != nil {
		return nil, err
	}
	var tags []string
	var unavailable error
	if owned {
		tags, unavailable = b.packages.Newest(ctx, repository, n)
		if b.builder == nil || unavailable != nil && !errors.Is(unavailable, store.ErrUnavailable) {
			return tags, unavailable
		}
	}
	list, err := b.supplies(ctx, repository, owned)
	switch {
	case err != nil && !owned:
		return nil, err
	case err != nil || owned && b.ref == "":
		return tags, unavailable
	case !owned && fixed(list):
		return []string{packages.Latest}, nil
	case !b.lately(ctx, list):
		return tags, unavailable
	case owned:
		return append(tags, b.ref), unavailable
	}
	return []string{packages.Latest}, nil
}

// fixed reports whether all components of a name are packages, so that none is built.
func fixed(list []supply) bool {
	return !slices.ContainsFunc(list, func(s supply) bool { return s.attr != "" })
}

// lately reports whether this process has built all attributes of a name, and the stores still have the results.
func (b *builds) lately(ctx context.Context, list []supply) bool {
	built := false
	for _, s := range list {
		if s.attr == "" {
			continue
		}
		built = false
		for _, arch := range append([]string{""}, b.archs...) {
			a, ok := b.results.Get(order{s.attr, arch})
			built = built || ok && b.present(ctx, a.paths) == nil
		}
		if !built {
			return false
		}
	}
	return built
}
