package manifest

import (
	"context"

	"nixreg/manifest/digests"
)

// maxSearched is how many of a repository's newest images are made anew to find an unknown digest.
const maxSearched = 8

// search makes the newest images of a repository anew, once per state of the store: a digest that was given out before
// the cache was lost is known again then.
func (s *Source) search(ctx context.Context, repository string) error {
	c, err := owner(ctx, s.catalogs, repository)
	if err != nil {
		return err
	}
	state, err := c.State(ctx)
	if err != nil {
		return err
	}
	stores, err := s.store.State(ctx)
	if err != nil {
		return err
	}
	state += stores
	if s.searched.has(repository, state) {
		return nil
	}
	_, err = digests.Once(ctx, s.group, "search/"+repository, func(ctx context.Context) (struct{}, error) {
		tags, err := c.Newest(ctx, repository, maxSearched)
		if err != nil {
			return struct{}{}, err
		}
		for _, tag := range tags {
			if err := s.renew(ctx, c, repository, tag); err != nil {
				return struct{}{}, err
			}
		}
		s.searched.add(repository, state)
		return struct{}{}, nil
	})
	return err
}

// renew makes the images of a tag from their parts. That one of them cannot be made hides none of the others.
func (s *Source) renew(ctx context.Context, c Catalog, repository, tag string) error {
	defs, err := c.Lookup(ctx, repository, tag)
	if err == nil {
		_, err = s.make(ctx, repository, defs, true)
	}
	if userError(err) {
		s.log.Info("image passed over in search of a digest", "repository", repository, "tag", tag, "error", err)
		return nil
	}
	return err
}
