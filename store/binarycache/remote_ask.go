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
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &answer{err: fmt.Errorf("%s: %s: %w", x.trust.name, name, fs.ErrNotExist), until: now.Add(missingFor)}, nil
	case errors.Is(err, store.ErrTooLarge):
		return &answer{err: fmt.Errorf("%s: %w", x.trust.name, tooLarge(name)), until: now.Add(missingFor)}, nil
	case err != nil:
		err = fmt.Errorf("%s: %w", x.trust.name, err)
		if errors.Is(err, store.ErrUnavailable) {
			x.fail(err)
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

// checkInfo looks at the cache's nix-cache-info, once, and again after it could not be had or was not right. That there
// is none means, as Nix has it, that this is no cache.
//
// Source: Nix, libstore/http-binary-cache-store.cc, init.
func (x *remote) checkInfo() error {
	select {
	case x.ready <- struct{}{}:
		defer func() { <-x.ready }()
	case <-x.ctx.Done():
		return x.ctx.Err()
	}
	if x.isReady() {
		return nil
	}
	if err := x.isDown(); err != nil { // since this one waited
		return err
	}
	text, err := x.fetch.Get(x.ctx, cacheInfoName, maxNarinfo)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = fmt.Errorf("it has no %s, so it is no binary cache: %w", cacheInfoName, store.ErrUnavailable)
	case errors.Is(err, store.ErrTooLarge):
		err = tooLarge(cacheInfoName)
	case err == nil:
		err = checkCacheInfo(string(text))
	}
	if err != nil {
		err = fmt.Errorf("%s: %w", x.trust.name, err)
		x.fail(err)
		return err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.checked = true
	return nil
}

func (x *remote) isReady() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.checked
}

// fail remembers for a short while that the whole cache is of no use.
func (x *remote) fail(err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if now := time.Now(); !now.Before(x.down.until) {
		x.down = failure{err, now.Add(downFor)}
	}
}

func (x *remote) isDown() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if time.Now().Before(x.down.until) {
		return x.down.err
	}
	return nil
}
