package mirror

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/nixreg/nixreg/registry/upstream"
)

// Tags implements [registry.Lister]. It asks the upstream at most once in the mirror's TTL. While the upstream does not answer, it
// returns the last list.
func (m *Mirror) Tags(ctx context.Context, repository string) ([]string, error) {
	repo, err := m.repository(repository)
	if err != nil {
		return nil, err
	}
	return list(ctx, m, "list/"+repo, m.ttl, func(ctx context.Context) ([]string, error) {
		tags, err := m.upstream.Tags(ctx, repo)
		slices.Sort(tags)
		return slices.Compact(tags), err
	})
}

// Referrers implements [registry.ReferrerLister]. It asks the upstream at most once in ten seconds: an image is signed after its push,
// and clients must find the signature. While the upstream does not answer, it returns the last list.
func (m *Mirror) Referrers(ctx context.Context, repository string, digest v1.Hash) ([]v1.Descriptor, error) {
	repo, err := m.repository(repository)
	if err != nil {
		return nil, err
	}
	return list(ctx, m, fmt.Sprintf("referrers/%s@%s", repo, digest), min(m.ttl, signedFor), func(ctx context.Context) ([]v1.Descriptor, error) {
		found, err := m.upstream.Referrers(ctx, repo, digest)
		if errors.Is(err, errors.ErrUnsupported) {
			return m.taggedReferrers(ctx, repo, upstream.ReferrersTag(digest))
		}
		return found, err
	})
}

// taggedReferrers returns the referrers from a registry without an API for them: clients keep them in an index under a tag. If there
// is a copy, HEAD is tried first, because registries count each GET of a manifest. A document that is no index has no referrers.
func (m *Mirror) taggedReferrers(ctx context.Context, repo, tag string) ([]v1.Descriptor, error) {
	known, err := m.keptTag(ctx, repo, tag)
	if err != nil {
		return nil, err
	}
	d, err := m.renew(ctx, repo, tag, known)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, errors.ErrUnsupported):
		return nil, nil
	case err != nil:
		return nil, err
	case d.MediaType != types.OCIImageIndex:
		return nil, nil
	}
	index, err := v1.ParseIndexManifest(bytes.NewReader(d.Data))
	if err != nil {
		return nil, m.malformed(repo, d.Digest, err)
	}
	return index.Manifests, nil
}

// list returns the list recorded under key or, if that is older than ttl, the one that ask gets. An empty list has the shorter TTL of
// a 404.
func list[T any](ctx context.Context, m *Mirror, key string, ttl time.Duration, ask func(context.Context) ([]T, error)) ([]T, error) {
	var known listRecord[T]
	ok, err := m.records.get(ctx, key, &known)
	if err != nil {
		return nil, err
	}
	if len(known.List) == 0 {
		ttl = min(ttl, absentFor)
	}
	if ok && m.within(known.Checked, ttl) {
		return known.List, nil
	}
	soon, cancel := limitWait(ctx, ok)
	defer cancel()
	var got []T
	if err = m.failures.get(key, wholeUpstream(ok)...); err == nil { // without the wait for a slot
		got, err = once(soon, &m.flights, key, func(ctx context.Context) ([]T, error) { return askList(ctx, m, key, ok, ask) })
	}
	if err != nil && soon.Err() != nil && ctx.Err() == nil { // the next caller must not wait as well
		m.failures.put(key, &upstream.Error{Registry: m.upstream.Name(), Subject: key, Err: fmt.Errorf("no answer in %v", copyWait)})
	}
	if err != nil && ok && isTemporary(err) && ctx.Err() == nil {
		m.log.WarnContext(ctx, "served as it was: the upstream does not answer", "list", key, "err", err)
		return known.List, nil
	}
	return got, answer(err)
}

// askList gets a list, unless a failure is remembered, and records it. It has no time limit of its own, because a list can have many
// pages. A caller with a copy does not wait for its end.
func askList[T any](ctx context.Context, m *Mirror, key string, copied bool, ask func(context.Context) ([]T, error)) ([]T, error) {
	if err := m.failures.get(key, wholeUpstream(copied)...); err != nil {
		return nil, err
	}
	got, err := ask(ctx)
	if err != nil {
		m.failures.putDocument(key, err)
		return nil, err
	}
	if err := m.records.put(ctx, key, listRecord[T]{got, m.now()}); err != nil {
		m.log.WarnContext(ctx, "list is served but not remembered", "list", key, "err", err)
	}
	return got, nil
}

// wholeUpstream returns the keys of failures that count for every request for a document; copied says that there is a copy of it.
func wholeUpstream(copied bool) []string {
	if copied {
		return []string{busyKey, downKey}
	}
	return []string{busyKey}
}
