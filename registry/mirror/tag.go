package mirror

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/nixreg/nixreg/registry/upstream"
)

// A meaning is what a tag stood for when the upstream was last asked.
type meaning struct {
	*v1.Descriptor
	checked time.Time
}

// ofDigest matches the tags under which clients keep what belongs to a digest: lists of referrers (sha256-<hex>), and
// cosign's signatures and attestations (sha256-<hex>.sig, .att).
var ofDigest = regexp.MustCompile(`sha(256|512)-[0-9a-f]{64}`)

// age is for how long the meaning of a tag is believed. What belongs to a digest is pushed after the image.
func (m *Mirror) age(tag string) time.Duration {
	if ofDigest.MatchString(tag) {
		return min(m.ttl, signedFor)
	}
	return m.ttl
}

// within reports whether something that was asked at a time is younger than age. A clock that was set back makes it older,
// not younger.
func (m *Mirror) within(asked time.Time, age time.Duration) bool {
	now := m.now()
	return !now.Before(asked) && now.Sub(asked) < age
}

// resolve finds what a tag means. The upstream is asked at most once in the age of the tag. If it does not answer, or not
// in time, or with an error that will pass, the tag means what it meant before, and warn says so.
func (m *Mirror) resolve(ctx context.Context, repo, tag string, warn func(string)) (*v1.Descriptor, error) {
	known, err := m.knownTag(ctx, repo, tag)
	if err != nil {
		return nil, err
	}
	if m.fresh(tag, known) {
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

// fresh reports whether a meaning need not be asked for again.
func (m *Mirror) fresh(tag string, known *meaning) bool {
	return known != nil && m.within(known.checked, m.age(tag))
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
		if m.fresh(tag, known) {
			return known.Descriptor, nil // somebody else has asked in the meantime
		}
		d, err := m.askNow(ctx, repo, tag, known)
		if err != nil {
			m.failures.putDocument(key, err)
		}
		return d, err
	})
}

// askNow asks, if the upstream has not just refused to answer. Where there is a copy, it gets little time.
func (m *Mirror) askNow(ctx context.Context, repo, tag string, known *meaning) (*v1.Descriptor, error) {
	if err := m.failures.get(tagKey(repo, tag), busyKey); err != nil {
		return nil, err
	}
	if known == nil {
		return m.renew(ctx, repo, tag, nil)
	}
	if err := m.failures.get(downKey); err != nil {
		return nil, err
	}
	soon, cancel := hurry(ctx, true)
	defer cancel()
	d, err := m.renew(soon, repo, tag, known)
	if err != nil && soon.Err() != nil && ctx.Err() == nil {
		err = &upstream.Error{Registry: m.upstream.Name(), Subject: repo + ":" + tag, Err: fmt.Errorf("no answer in %v", patience)}
	}
	return d, err
}

// renew gets what a tag means now, and records it.
func (m *Mirror) renew(ctx context.Context, repo, tag string, known *meaning) (d *v1.Descriptor, err error) {
	if known == nil {
		d, err = m.fresher(ctx, repo, tag)
	} else {
		d, err = m.revalidate(ctx, repo, tag, known)
	}
	if err != nil {
		return nil, err
	}
	if err := m.records.put(ctx, tagKey(repo, tag), tagRecord{d.Digest, m.now()}); err != nil {
		m.log.WarnContext(ctx, "tag is served but not remembered", "repository", repo, "tag", tag, "err", err)
	}
	return d, nil
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
