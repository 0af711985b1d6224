package mirror

import (
	"context"
	"fmt"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Tags implements [registry.Lister]. The upstream is asked at most once in the mirror's TTL; while it does not answer,
// the list is the last one.
func (m *Mirror) Tags(ctx context.Context, repository string) ([]string, error) {
	repo, err := m.repository(repository)
	if err != nil {
		return nil, err
	}
	return list(ctx, m, "list/"+repo, func(ctx context.Context) ([]string, error) {
		tags, err := m.upstream.Tags(ctx, repo)
		slices.Sort(tags)
		return slices.Compact(tags), err
	})
}

// Referrers implements [registry.ReferrerLister], as Tags its interface.
func (m *Mirror) Referrers(ctx context.Context, repository string, digest v1.Hash) ([]v1.Descriptor, error) {
	repo, err := m.repository(repository)
	if err != nil {
		return nil, err
	}
	return list(ctx, m, fmt.Sprintf("referrers/%s@%s", repo, digest), func(ctx context.Context) ([]v1.Descriptor, error) {
		return m.upstream.Referrers(ctx, repo, digest)
	})
}

// list returns the list that is recorded under key, or the one that ask gets if that is too old.
func list[T any](ctx context.Context, m *Mirror, key string, ask func(context.Context) ([]T, error)) ([]T, error) {
	var known listRecord[T]
	ok, err := m.records.get(ctx, key, &known)
	if err != nil {
		return nil, err
	}
	if age := m.now().Sub(known.Checked); ok && age >= 0 && age < m.ttl {
		return known.List, nil
	}
	soon, cancel := hurry(ctx, ok)
	defer cancel()
	var got []T
	if err = m.failures.get(key, general(ok)...); err == nil { // else no turn is waited for
		got, err = once(soon, &m.flights, key, func(ctx context.Context) ([]T, error) { return askList(ctx, m, key, ok, ask) })
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
