package catalog

import (
	"context"
	"errors"
	"slices"

	"github.com/nixreg/nixreg/manifest/packages"
	"github.com/nixreg/nixreg/store"
)

// Tags are the packages', and what the builder answers to. Nothing is built to see which tags an image has of its own.
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
		if own, err := b.files.fileTags(ctx, repository, a.paths[0].Abs()); err == nil { // it is told when it is asked for
			tags = append(tags, own...)
		}
	}
	return tags
}

// Newest are the packages', and latest of what this process has built: that a digest is not known must not start a build,
// which could go on for hours and give another one. What was built before is found by the packages' names, or under its
// tag.
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

// fixed reports whether nothing of a name is built.
func fixed(list []supply) bool {
	return !slices.ContainsFunc(list, func(s supply) bool { return s.attr != "" })
}

// lately reports whether all attributes of a name were built by this process, and the stores still have them.
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
