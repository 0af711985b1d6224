package mirror

import (
	"context"
	"errors"
	"fmt"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"nixreg/registry/upstream"
)

// resolve finds what a tag means. The upstream is asked at most once in the mirror's TTL. If it does not answer, or not
// in time, or with an error that will pass, the tag means what it meant before, and warn says so.
func (m *Mirror) resolve(ctx context.Context, repo, tag string, warn func(string)) (v1.Hash, error) {
	known, err := m.knownTag(ctx, repo, tag)
	if err != nil {
		return v1.Hash{}, err
	}
	if m.fresh(known) {
		return known.Digest, nil
	}
	digest, err := m.ask(ctx, repo, tag)
	if err == nil || known == nil || !willPass(err) || ctx.Err() != nil {
		return digest, err
	}
	age := m.now().Sub(known.Checked).Round(time.Second)
	m.log.WarnContext(ctx, "served as it was: the upstream does not answer", "repository", repo, "tag", tag, "digest", known.Digest, "age", age, "err", err)
	warn(fmt.Sprintf("%s does not answer: this is %s:%s as it was %v ago", m.upstream.Name(), repo, tag, age))
	return known.Digest, nil
}

// knownTag returns what a tag meant when it was last asked for, nil if that is unknown or no longer here.
func (m *Mirror) knownTag(ctx context.Context, repo, tag string) (*tagRecord, error) {
	known := new(tagRecord)
	ok, err := m.records.get(ctx, tagKey(repo, tag), known)
	if err != nil || !ok {
		return nil, err
	}
	if d, err := m.keptDocument(ctx, repo, known.Digest); err != nil || d == nil {
		return nil, err
	}
	return known, nil
}

// fresh reports whether a meaning need not be asked for again. A clock that was set back makes it older, not younger.
func (m *Mirror) fresh(known *tagRecord) bool {
	return known != nil && !m.now().Before(known.Checked) && m.now().Sub(known.Checked) < m.ttl
}

// willPass tells errors of an upstream's bad hour from its word that a thing is not there, or not for us.
func willPass(err error) bool {
	var u *upstream.Error
	return errors.As(err, &u) && (u.Status == 0 || u.Status == 429 || u.Status >= 500) ||
		errors.Is(err, upstream.ErrDigest) || isTimeout(err)
}

// ask asks the upstream what a tag means, once for all who want to know, and records the answer.
func (m *Mirror) ask(ctx context.Context, repo, tag string) (v1.Hash, error) {
	key := tagKey(repo, tag)
	return once(ctx, &m.flights, key, func(ctx context.Context) (v1.Hash, error) {
		known, err := m.knownTag(ctx, repo, tag)
		if err != nil {
			return v1.Hash{}, err
		}
		if m.fresh(known) {
			return known.Digest, nil // somebody else has asked in the meantime
		}
		if err := m.failures.get(key, busyKey); err != nil {
			return v1.Hash{}, err
		}
		digest, err := m.revalidate(ctx, repo, tag, known)
		if err != nil {
			m.failures.putDocument(key, err)
			return v1.Hash{}, err
		}
		if err := m.records.put(ctx, key, tagRecord{digest, m.now()}); err != nil {
			m.log.WarnContext(ctx, "tag is served but not remembered", "repository", repo, "tag", tag, "err", err)
		}
		return digest, nil
	})
}

// revalidate asks by HEAD whether a tag means what it did, and by GET otherwise.
func (m *Mirror) revalidate(ctx context.Context, repo, tag string, known *tagRecord) (v1.Hash, error) {
	if known != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, patience)
		defer cancel()
		head, err := m.upstream.Head(ctx, repo, tag, upstream.Manifests()...)
		switch {
		case err != nil && !unsupported(err):
			return v1.Hash{}, err
		case err != nil || head.Digest == v1.Hash{}: // it answers no HEAD, or not with a digest
		case head.Digest == known.Digest:
			return known.Digest, nil
		default:
			if _, err := m.document(ctx, repo, head.Digest); err == nil {
				return head.Digest, nil
			}
		}
	}
	d, err := m.upstream.Manifest(ctx, repo, tag, upstream.Manifests()...)
	if err != nil {
		return v1.Hash{}, err
	}
	return d.Digest, m.keep(ctx, repo, d)
}

// unsupported is the answer of a server that knows no HEAD.
func unsupported(err error) bool {
	var u *upstream.Error
	return errors.As(err, &u) && (u.Status == 405 || u.Status == 501)
}
