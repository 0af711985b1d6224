package binarycache

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/nixreg/nixreg/store"
)

// get asks the cache for a narinfo. That there is none, or one of no use, is an answer. One that cannot be had from a cache
// that can be asked gives a *pathFailure.
func (x *remote) get(hash string) (*answer, error) {
	name := hash + narinfoSuffix
	text, err := x.fetch.Get(x.ctx, name, maxNarinfo)
	now := time.Now()
	unavailable, forbidden := errors.Is(err, store.ErrUnavailable), isForbidden(err)
	if unavailable || forbidden {
		if down := x.doubt(x.ctx); down != nil {
			return nil, x.noWord(x.ctx, down)
		}
	} else {
		x.answered()
	}
	switch {
	case forbidden:
		x.tellForbidden(err)
		fallthrough
	case errors.Is(err, fs.ErrNotExist):
		return &answer{err: fmt.Errorf("%s: %s: %w", x.trust.name, name, fs.ErrNotExist), until: now.Add(missingFor)}, nil
	case errors.Is(err, store.ErrTooLarge):
		return &answer{err: fmt.Errorf("%s: %w", x.trust.name, tooLarge(name)), until: now.Add(missingFor)}, nil
	case unavailable:
		return nil, &pathFailure{paused{err, now.Add(max(failedFor, retryAfter(err)))}}
	case err != nil:
		return nil, err
	}
	return x.understand(hash, string(text), now), nil
}

// pathFailure is about one file that cannot be had, from a cache that can be asked.
type pathFailure struct{ paused }

// tellForbidden logs once that files which the cache forbids count as absent.
func (x *remote) tellForbidden(err error) {
	x.blind.Do(func() {
		x.trust.log.Warn("binary cache forbids a file: such files count as absent, which is right unless the credentials are wrong; told once",
			"cache", x.trust.name, "err", err)
	})
}

// understand makes an answer of the text of a narinfo, which was got at a time.
func (x *remote) understand(hash, text string, at time.Time) *answer {
	n, err := parseNarinfoOf(hash, text, x.trust.name)
	if err == nil {
		err = x.trust.check(n)
	}
	if err != nil {
		return &answer{err: fmt.Errorf("%s: %w", x.trust.name, err), until: at.Add(missingFor)}
	}
	return &answer{info: n, text: text, got: at, until: at.Add(freshFor)}
}
