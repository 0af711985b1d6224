package mirror

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"nixreg/registry/upstream"
)

// A meaning is what a tag stood for when the upstream was last asked.
type meaning struct {
	*v1.Descriptor
	checked time.Time
}

// resolve finds what a tag means. The upstream is asked at most once in the mirror's TTL. If it does not answer, or not
// in time, or with an error that will pass, the tag means what it meant before, and warn says so.
func (m *Mirror) resolve(ctx context.Context, repo, tag string, warn func(string)) (*v1.Descriptor, error) {
	known, err := m.knownTag(ctx, repo, tag)
	if err != nil {
		return nil, err
	}
	if m.fresh(known) {
		return known.Descriptor, nil
	}
	soon, cancel := hurry(ctx, known != nil)
	defer cancel()
	d, err := m.ask(soon, repo, tag, known != nil)
	if err == nil || known == nil || !willPass(err) || ctx.Err() != nil {
		return d, err
	}
	age := m.now().Sub(known.checked).Round(time.Second)
	m.log.WarnContext(ctx, "served as it was: the upstream does not answer", "repository", repo, "tag", tag, "digest", known.Digest, "age", age, "err", err)
	warn(fmt.Sprintf("%s does not answer: this is %s:%s as it was %v ago", m.upstream.Name(), repo, tag, age))
	return known.Descriptor, nil
}

// hurry bounds the time that one waits who has a copy: for the upstream, and for a turn to ask it.
func hurry(ctx context.Context, copied bool) (context.Context, context.CancelFunc) {
	if !copied {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, patience)
}

// knownTag returns what a tag meant when it was last asked for, nil if that is unknown or no longer here.
func (m *Mirror) knownTag(ctx context.Context, repo, tag string) (*meaning, error) {
	var known tagRecord
	ok, err := m.records.get(ctx, tagKey(repo, tag), &known)
	if err != nil || !ok {
		return nil, err
	}
	d, err := m.keptDocument(ctx, repo, known.Digest)
	if err != nil || d == nil {
		return nil, err
	}
	return &meaning{d, known.Checked}, nil
}

// fresh reports whether a meaning need not be asked for again. A clock that was set back makes it older, not younger.
func (m *Mirror) fresh(known *meaning) bool {
	return known != nil && !m.now().Before(known.checked) && m.now().Sub(known.checked) < m.ttl
}

// willPass tells errors of an upstream's bad hour from its word that a thing is not there, or not for us.
func willPass(err error) bool {
	var u *upstream.Error
	return errors.As(err, &u) && (u.Status == 0 || u.Status == 408 || u.Status == 429 || u.Status >= 500) ||
		errors.Is(err, upstream.ErrDigest) || errors.Is(err, upstream.ErrCredentials) || isTimeout(err)
}

// ask asks the upstream what a tag means, once for all who want to know, and records the answer.
func (m *Mirror) ask(ctx context.Context, repo, tag string, copied bool) (*v1.Descriptor, error) {
	key := tagKey(repo, tag)
	if err := m.failures.get(key, general(copied)...); err != nil { // no turn is waited for
		return nil, err
	}
	return once(ctx, &m.flights, key, func(ctx context.Context) (*v1.Descriptor, error) {
		known, err := m.knownTag(ctx, repo, tag)
		if err != nil {
			return nil, err
		}
		if m.fresh(known) {
			return known.Descriptor, nil // somebody else has asked in the meantime
		}
		d, err := m.askNow(ctx, repo, tag, known)
		if err != nil {
			m.failures.putDocument(key, err)
			return nil, err
		}
		if err := m.records.put(ctx, key, tagRecord{d.Digest, m.now()}); err != nil {
			m.log.WarnContext(ctx, "tag is served but not remembered", "repository", repo, "tag", tag, "err", err)
		}
		return d, nil
	})
}

// askNow asks, if the upstream has not just refused to answer. Where there is a copy, it gets little time.
func (m *Mirror) askNow(ctx context.Context, repo, tag string, known *meaning) (*v1.Descriptor, error) {
	if err := m.failures.get(tagKey(repo, tag), busyKey); err != nil {
		return nil, err
	}
	if known == nil {
		return m.fresher(ctx, repo, tag)
	}
	if err := m.failures.get(downKey); err != nil {
		return nil, err
	}
	soon, cancel := hurry(ctx, true)
	defer cancel()
	d, err := m.revalidate(soon, repo, tag, known)
	if err != nil && soon.Err() != nil && ctx.Err() == nil {
		err = &upstream.Error{Registry: m.upstream.Name(), Subject: repo + ":" + tag, Err: fmt.Errorf("no answer in %v", patience)}
	}
	return d, err
}

// revalidate asks by HEAD whether a tag means what it did, and by GET only if it does not.
func (m *Mirror) revalidate(ctx context.Context, repo, tag string, known *meaning) (*v1.Descriptor, error) {
	head, err := m.upstream.Head(ctx, repo, tag, upstream.Manifests()...)
	switch {
	case err != nil && !unsupported(err):
		return nil, err
	case err != nil || head.Digest.Algorithm != "sha256": // it answers no HEAD, or not with a digest that says something here
		return m.fresher(ctx, repo, tag)
	case head.Digest == known.Digest:
		return known.Descriptor, nil
	}
	d, err := m.document(ctx, repo, head.Digest)
	if errors.Is(err, fs.ErrNotExist) { // moved once more
		return m.fresher(ctx, repo, tag)
	}
	return d, err
}

// fresher gets what a tag means now, by its sha256, whatever other digest the upstream has of it.
func (m *Mirror) fresher(ctx context.Context, repo, tag string) (*v1.Descriptor, error) {
	d, err := m.upstream.Manifest(ctx, repo, tag, upstream.Manifests()...)
	if err != nil {
		return nil, err
	}
	if d.Digest.Algorithm != "sha256" {
		d.Digest = v1.Hash{Algorithm: "sha256", Hex: fmt.Sprintf("%x", sha256.Sum256(d.Data))}
	}
	return d, m.keep(ctx, repo, d)
}

// unsupported is the answer of a server that knows no HEAD.
func unsupported(err error) bool {
	var u *upstream.Error
	return errors.As(err, &u) && (u.Status == 405 || u.Status == 501)
}
