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

// keptTag is the manifest of a tag when the upstream was last asked.
type keptTag struct {
	*v1.Descriptor
	checked time.Time
}

// ofDigest matches tags that belong to a digest: lists of referrers (sha256-<hex>), and cosign's signatures and attestations
// (sha256-<hex>.sig, .att).
var ofDigest = regexp.MustCompile(`sha(256|512)-[0-9a-f]{64}`)

// tagTTL is the time until the upstream is asked for a tag again. A tag that belongs to a digest is pushed after the image.
func (m *Mirror) tagTTL(tag string) time.Duration {
	if ofDigest.MatchString(tag) {
		return min(m.ttl, signedFor)
	}
	return m.ttl
}

// within reports whether a time lies in the last ttl. A time in the future does not: the clock was set back.
func (m *Mirror) within(asked time.Time, ttl time.Duration) bool {
	now := m.now()
	return !now.Before(asked) && now.Sub(asked) < ttl
}

// resolve returns the manifest of a tag. It asks the upstream at most once in the TTL of the tag. If the upstream does not answer in
// time, or with a temporary error, resolve returns the kept manifest and calls warn.
func (m *Mirror) resolve(ctx context.Context, repo, tag string, warn func(string)) (*v1.Descriptor, error) {
	known, err := m.keptTag(ctx, repo, tag)
	if err != nil {
		return nil, err
	}
	if m.fresh(tag, known) {
		return known.Descriptor, nil
	}
	soon, cancel := limitWait(ctx, known != nil)
	defer cancel()
	d, err := m.ask(soon, repo, tag, known != nil)
	if err == nil || known == nil || !isTemporary(err) || ctx.Err() != nil {
		return d, err
	}
	age := m.now().Sub(known.checked).Round(time.Second)
	m.log.WarnContext(ctx, "served as it was: the upstream does not answer", "repository", repo, "tag", tag, "digest", known.Digest, "age", age, "err", err)
	warn(fmt.Sprintf("%s does not answer: this is %s:%s as it was %v ago", m.upstream.Name(), repo, tag, age))
	return known.Descriptor, nil
}

// limitWait bounds the wait of a request with a copy to serve: for the upstream, and for a slot.
func limitWait(ctx context.Context, copied bool) (context.Context, context.CancelFunc) {
	if !copied {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, copyWait)
}

// keptTag returns the last known manifest of a tag; nil if none is known, or it is not kept any more.
func (m *Mirror) keptTag(ctx context.Context, repo, tag string) (*keptTag, error) {
	var known tagRecord
	ok, err := m.records.get(ctx, tagKey(repo, tag), &known)
	if err != nil || !ok {
		return nil, err
	}
	d, err := m.keptDocument(ctx, repo, known.Digest)
	if err != nil || d == nil {
		return nil, err
	}
	return &keptTag{d, known.Checked}, nil
}

// fresh reports whether the upstream need not be asked again.
func (m *Mirror) fresh(tag string, known *keptTag) bool {
	return known != nil && m.within(known.checked, m.tagTTL(tag))
}

// isTemporary tells failures of the upstream from its answer that something is absent or forbidden.
func isTemporary(err error) bool {
	var u *upstream.Error
	return errors.As(err, &u) && (u.Status == 0 || u.Status == 408 || u.Status == 429 || u.Status >= 500) ||
		errors.Is(err, upstream.ErrDigest) || errors.Is(err, upstream.ErrCredentials) || isTimeout(err)
}

// ask asks the upstream for a tag, once for all callers at the same time, and records the answer.
func (m *Mirror) ask(ctx context.Context, repo, tag string, copied bool) (*v1.Descriptor, error) {
	key := tagKey(repo, tag)
	if err := m.failures.get(key, wholeUpstream(copied)...); err != nil { // without the wait for a slot
		return nil, err
	}
	return once(ctx, &m.flights, key, func(ctx context.Context) (*v1.Descriptor, error) {
		known, err := m.keptTag(ctx, repo, tag)
		if err != nil {
			return nil, err
		}
		if m.fresh(tag, known) {
			return known.Descriptor, nil // another request has asked meanwhile
		}
		d, err := m.askNow(ctx, repo, tag, known)
		if err != nil {
			m.failures.putDocument(key, err)
		}
		return d, err
	})
}

// askNow asks the upstream, unless a failure of it is remembered. With a copy to serve, it waits for a short time only.
func (m *Mirror) askNow(ctx context.Context, repo, tag string, known *keptTag) (*v1.Descriptor, error) {
	if err := m.failures.get(tagKey(repo, tag), busyKey); err != nil {
		return nil, err
	}
	if known == nil {
		return m.renew(ctx, repo, tag, nil)
	}
	if err := m.failures.get(downKey); err != nil {
		return nil, err
	}
	soon, cancel := limitWait(ctx, true)
	defer cancel()
	d, err := m.renew(soon, repo, tag, known)
	if err != nil && soon.Err() != nil && ctx.Err() == nil {
		err = &upstream.Error{Registry: m.upstream.Name(), Subject: repo + ":" + tag, Err: fmt.Errorf("no answer in %v", copyWait)}
	}
	return d, err
}

// renew gets the present manifest of a tag, and records it.
func (m *Mirror) renew(ctx context.Context, repo, tag string, known *keptTag) (d *v1.Descriptor, err error) {
	if known == nil {
		d, err = m.get(ctx, repo, tag)
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

// revalidate asks by HEAD whether a tag has changed, and by GET only if it has.
func (m *Mirror) revalidate(ctx context.Context, repo, tag string, known *keptTag) (*v1.Descriptor, error) {
	head, err := m.upstream.Head(ctx, repo, tag)
	switch {
	case err != nil && !unsupported(err):
		return nil, err
	case err != nil || head.Digest.Algorithm != "sha256": // no HEAD, or no digest that can be compared
		return m.get(ctx, repo, tag)
	case head.Digest == known.Digest:
		return known.Descriptor, nil
	}
	d, err := m.document(ctx, repo, head.Digest)
	if errors.Is(err, fs.ErrNotExist) { // the tag has moved again
		return m.get(ctx, repo, tag)
	}
	return d, err
}

// get gets the manifest of a tag. Its digest is the sha256, even if the upstream names another one.
func (m *Mirror) get(ctx context.Context, repo, tag string) (*v1.Descriptor, error) {
	d, err := m.upstream.Manifest(ctx, repo, tag)
	if err != nil {
		return nil, err
	}
	if d.Digest.Algorithm != "sha256" {
		d.Digest = v1.Hash{Algorithm: "sha256", Hex: fmt.Sprintf("%x", sha256.Sum256(d.Data))}
	}
	return d, m.keep(ctx, repo, d)
}

// unsupported reports whether the server does not know HEAD.
func unsupported(err error) bool {
	var u *upstream.Error
	return errors.As(err, &u) && (u.Status == 405 || u.Status == 501)
}
