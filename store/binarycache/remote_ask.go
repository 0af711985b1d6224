package binarycache

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"nixreg/store"
)

// get asks the cache for a narinfo. That there is none, or one of no use, is an answer.
func (x *remote) get(hash string) (*answer, error) {
	name := hash + narinfoSuffix
	text, err := x.fetch.Get(x.ctx, name, maxNarinfo)
	now := time.Now()
	if !errors.Is(err, store.ErrUnavailable) {
		x.answered()
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &answer{err: fmt.Errorf("%s: %s: %w", x.trust.name, name, fs.ErrNotExist), until: now.Add(missingFor)}, nil
	case errors.Is(err, store.ErrTooLarge):
		return &answer{err: fmt.Errorf("%s: %w", x.trust.name, tooLarge(name)), until: now.Add(missingFor)}, nil
	case err != nil:
		if errors.Is(err, store.ErrUnavailable) {
			x.fail(err, false, hash)
		}
		return nil, err
	}
	return x.understand(hash, string(text), now), nil
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
