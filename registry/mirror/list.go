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

// Tags implements [registry.Lister]. The upstream is asked at most once in the mirror's TTL; while it does not answer,
// the list is the last one.
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

// Referrers implements [registry.ReferrerLister]. The upstream is asked at most once in ten seconds: an image is signed
// after it was pushed, and the signature must be found. While the upstream does not answer, the list is the last one.
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

// taggedReferrers are the referrers of a registry that has no lists of them: clients keep them in an index under a tag.
// That index is asked for by HEAD where there is a copy, as registries count each GET of a manifest. What is no index
// lists nothing.
func (m *Mirror) taggedReferrers(ctx context.Context, repo, tag string) ([]v1.Descriptor, error) {
	known, err := m.knownTag(ctx, repo, tag)
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

// list returns the list that is recorded under key, or the one that ask gets if that is older than age. An empty list is
// as good as a 404, and is believed no longer.
func list[T any](ctx context.Context, m *Mirror, key string, age time.Duration, ask func(context.Context) ([]T, error)) ([]T, error) {
	var known listRecord[T]
	ok, err := m.records.get(ctx, key, &known)
	if err != nil {
		return nil, err
	}
	if len(known.List) == 0 {
		age = min(age, absentFor)
	}
	if ok && m.within(known.Checked, age) {
		return known.List, nil
	}
	soon, cancel := hurry(ctx, ok)
	defer cancel()
	var got []T
	if err = m.failures.get(key, general(ok)...); err == nil { // else no turn is waited for
		got, err = once(soon, &m.flights, key, func(ctx context.Context) ([]T, error) { return askList(ctx, m, key, ok, ask) })
	}
	if err != nil && soon.Err() != nil && ctx.Err() == nil { // who asks next does not wait, too
		m.failures.put(key, &upstream.Error{Registry: m.upstream.Name(), Subject: key, Err: fmt.Errorf("no answer in %v", patience)})
	}
	if err != nil && ok && willPass(err) && ctx.Err() == nil {
		m.log.WarnContext(ctx, "served as it was: the upstream does not answer", "list", key, "err", err)
		return known.List, nil
	}
	return got, answer(err)
}

// askList gets a list, if the upstream has not just refused to answer, and records it. It takes its time, as a list of
// many pages needs: who has a copy does not wait for it.
func askList[T any](ctx context.Context, m *Mirror, key string, copied bool, ask func(context.Context) ([]T, error)) ([]T, error) {
	if err := m.failures.get(key, general(copied)...); err != nil {
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

// general are the keys of failures that answer any question for a document, and where there is a copy of it.
func general(copied bool) []string {
	if copied {
		return []string{busyKey, downKey}
	}
	return []string{busyKey}
}
