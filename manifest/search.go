package manifest

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/nixreg/nixreg/internal/flight"
	"github.com/nixreg/nixreg/manifest/catalog"
	"github.com/nixreg/nixreg/manifest/document"
	"github.com/nixreg/nixreg/manifest/draft"
	"github.com/nixreg/nixreg/manifest/packages"
	"github.com/nixreg/nixreg/store"
)

const (
	// maxSearched is how many of a repository's newest images are made anew to find an unknown digest.
	maxSearched = 8
	// searchAgain is the time until an unknown digest may start another search in the same state, because a record may have been
	// lost since the last one. To make an image again is cheap if its layers are recorded.
	searchAgain = time.Minute
	// searchedBytes bounds the memory of searches that are done.
	searchedBytes = 1 << 20
)

// searched returns the record that find finds for a digest. If find finds none, searched makes the newest images again and calls
// find once more. The error for a digest that is still unknown matches fs.ErrNotExist. But it matches [store.ErrUnavailable] if a
// store was out of reach and an image could not be made, because the digest may belong to that image.
func searched[T any](ctx context.Context, s *Source, repository string, digest v1.Hash, find func(context.Context, string, v1.Hash) (*T, error)) (*T, error) {
	found, err := find(ctx, repository, digest)
	if !isAbsent(err) {
		return found, err
	}
	if s.restore(ctx, repository, digest) {
		if found, err := find(ctx, repository, digest); !isAbsent(err) {
			return found, err
		}
	}
	var unavailable error
	for _, f := range searchedFormats {
		failed := s.search(ctx, repository, f)
		if failed != nil && !errors.Is(failed, store.ErrUnavailable) {
			return nil, failed
		}
		if found, err := find(ctx, repository, digest); !isAbsent(err) {
			return found, err
		}
		unavailable = cmp.Or(unavailable, failed)
	}
	return nil, cmp.Or(unavailable, unknownDigest(repository, digest))
}

// searchedFormat is a format in which images are made to find an unknown digest.
type searchedFormat struct {
	name string
	of   func([]*draft.Definition) []*draft.Definition
}

// searchedFormats has the earlier format until version 1.0, because clients have pinned its digests.
var searchedFormats = []searchedFormat{
	{"", func(defs []*draft.Definition) []*draft.Definition { return defs }},
	{"format 1", draft.InFormat1},
}

// tagsOf returns the tags of a repository whose answers match is.
func (s *Source) tagsOf(repository string, is func(*answer) bool) (tags []string) {
	s.answers.Each(func(name [2]string, a *answer) {
		if name[0] == repository && is(a) {
			tags = append(tags, name[1])
		}
	})
	return tags
}

// restore makes the images again whose answers name a digest that the records have lost. It reports whether there was such an
// answer.
func (s *Source) restore(ctx context.Context, repository string, digest v1.Hash) bool {
	tags := s.tagsOf(repository, func(a *answer) bool { return a.promises(digest) })
	for _, tag := range tags {
		s.answers.Delete([2]string{repository, tag})
		c, err := s.catalog.Provider(ctx, repository)
		if err == nil {
			err = s.renew(ctx, c, repository, tag, searchedFormats[0])
		}
		if err != nil { // not returned: the search that follows meets the same error
			s.log.Debug("lost records are not restored", "repository", repository, "tag", tag, "error", err)
		}
	}
	return len(tags) > 0
}

// search makes the newest images of a repository again in a format, once for each state of the stores and once in searchAgain. Afterwards the
// records have the digests of these images again, even if the cache was lost after clients got them.
func (s *Source) search(ctx context.Context, repository string, f searchedFormat) error {
	c, err := s.catalog.Provider(ctx, repository)
	if err != nil {
		return err
	}
	state, err := s.state(ctx, c)
	if err != nil {
		return err
	}
	if last, ok := s.searched.Get(repository + f.name); ok && last == state {
		return nil
	}
	_, err = flight.Once(ctx, s.group, fmt.Sprint("search/", repository, f.name, " ", state), func(ctx context.Context) (struct{}, error) {
		return struct{}{}, s.remake(ctx, c, repository, state, f)
	})
	return err
}

// state returns the state of a catalog and of the stores, as one short string.
func (s *Source) state(ctx context.Context, c catalog.Provider) (string, error) {
	names, err := c.State(ctx)
	if err != nil {
		return "", err
	}
	paths, err := s.store.State(ctx)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(names + "\x00" + paths))
	return hex.EncodeToString(sum[:16]), nil
}

// remake makes the newest images of a repository. After an image that fails, it goes on with the next one. The next search tries
// a failed image again, unless the failure is an error of the user, which stays. If a store was out of reach, remake returns that
// error at the end.
func (s *Source) remake(ctx context.Context, c catalog.Provider, repository, state string, f searchedFormat) error {
	tags, unavailable := c.Newest(ctx, repository, maxSearched)
	if unavailable != nil && !errors.Is(unavailable, store.ErrUnavailable) {
		return unavailable
	}
	complete := true
	for _, tag := range tags {
		err := s.renew(ctx, c, repository, tag, f)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, store.ErrUnavailable):
			unavailable = err
		case err != nil:
			s.log.Warn("image passed over in search of a digest", "repository", repository, "tag", tag, "error", err)
			complete = complete && packages.IsUserError(err)
		}
	}
	if complete && unavailable == nil {
		s.searched.Put(repository+f.name, state, int64(len(repository)+len(f.name)+len(state)))
	}
	return unavailable
}

// renew makes the images of a tag in a format, and their referrers, from their parts.
func (s *Source) renew(ctx context.Context, c catalog.Provider, repository, tag string, f searchedFormat) error {
	defs, err := c.Lookup(ctx, repository, tag)
	if err != nil {
		return err
	}
	if defs = f.of(defs); len(defs) == 0 {
		return nil
	}
	for _, dialects := range s.served() {
		p, err := s.publish(ctx, repository, defs, dialects, true)
		if err != nil || p.layout != nil {
			return err
		}
		for _, m := range p.images {
			for _, d := range p.manifests(m) {
				if err := s.renewAttached(ctx, repository, m, d); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// renewAttached makes the referrers of a manifest. The image is served even if that fails, so most errors are only logged. But if a
// store is out of reach, that is an error, because the digest of the search may belong to the referrer.
func (s *Source) renewAttached(ctx context.Context, repository string, m *document.Image, d *v1.Descriptor) error {
	if m.Ready {
		return nil
	}
	subject := v1.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size}
	for _, a := range s.attachers {
		_, err := s.attach(ctx, a, repository, m.Key, subject)
		if errors.Is(err, store.ErrUnavailable) {
			return err
		}
		if err != nil {
			s.log.Warn("no "+a.name, "repository", repository, "manifest", d.Digest, "error", err)
		}
	}
	return nil
}

// manifestByDigest returns the manifest or index with a digest. The bytes for a digest never change, so a document in the LRU is
// sent without another check.
func (s *Source) manifestByDigest(ctx context.Context, repository string, digest v1.Hash) (*v1.Descriptor, error) {
	key := [2]string{repository, digest.Hex}
	doc, ok := s.documents.Get(key)
	if !ok {
		m, err := searched(ctx, s, repository, digest, s.records.document)
		if err != nil {
			return nil, err
		}
		doc = servedDocument{&v1.Descriptor{MediaType: m.MediaType, Digest: digest, Size: int64(len(m.Data)), Data: m.Data}, m.Image}
		s.documents.Put(key, doc, int64(len(repository)+len(digest.Hex)+len(m.Data)))
	}
	s.holdAgain(ctx, digest, doc.image)
	return doc.Descriptor, nil
}
