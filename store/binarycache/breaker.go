package binarycache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"github.com/nixreg/nixreg/store"
)

const (
	downFor  = 5 * time.Second // the first backoff of a cache that is down; each failed probe doubles it
	downMost = 2 * time.Minute

	aliveFor      = 5 * time.Second // after a good nix-cache-info, a file that fails is for this long not a reason to check the cache
	maxRetryAfter = time.Hour
)

// breaker is a circuit breaker for one cache. It opens when nix-cache-info cannot be read or is wrong: then the whole cache is
// unusable. After a backoff one caller probes the cache; the others get the error at once. Safe for concurrent use.
type breaker struct {
	fetch Fetcher
	cache string          // its name, for errors
	ctx   context.Context // of the requests for nix-cache-info, which belong to no single caller

	turn chan struct{} // semaphore of size 1, for the request for nix-cache-info

	mu      sync.Mutex
	err     error         // why the breaker is open; nil while it is closed
	until   time.Time     // end of the backoff
	backoff time.Duration // the last one; it is kept until the cache gives a narinfo or says that it is absent
	probing bool          // a caller probes the cache

	checked bool      // nix-cache-info is right
	doubted bool      // checked was reset because a file could not be fetched
	alive   time.Time // when nix-cache-info was last right after a doubt
}

func newBreaker(ctx context.Context, f Fetcher, cache string) *breaker {
	return &breaker{fetch: f, cache: cache, ctx: ctx, turn: make(chan struct{}, 1)}
}

// pausedError is about a file, or a whole cache, that is not asked for until some time.
type pausedError struct {
	error
	until time.Time
}

func (p *pausedError) Unwrap() error { return p.error }

// RetryAfter is the rest of the pause, for clients; 0 when it is over.
func (p *pausedError) RetryAfter() time.Duration { return max(0, time.Until(p.until)) }

// allow returns nil if the cache may be asked, else the reason why not. After the backoff, one caller gets probe as well: it asks
// the cache all the same, with check.
func (b *breaker) allow() (probe bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err == nil || b.probing || time.Now().Before(b.until) {
		return false, b.err
	}
	b.probing = true
	return true, b.err
}

// check reads nix-cache-info if it was not read since the start, since a doubt, or since the breaker opened. probe is the result of
// allow. A cache without nix-cache-info is no cache. The end of ctx ends the wait for another caller's check.
//
// Source: Nix, libstore/http-binary-cache-store.cc, init.
func (b *breaker) check(ctx context.Context, probe bool) error {
	select {
	case b.turn <- struct{}{}:
		defer func() { <-b.turn }()
	case <-ctx.Done():
		if probe {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.probing = false
		}
		return ctx.Err()
	}
	b.mu.Lock()
	checked, open := b.checked, b.err
	b.mu.Unlock()
	if !probe && (open != nil || checked) { // it may have opened during the wait
		return open
	}
	err := b.readInfo()
	if b.ctx.Err() != nil {
		return errClosed
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if err != nil {
		return b.trip(err, probe)
	}
	if b.doubted {
		b.alive = time.Now()
	}
	b.checked, b.doubted = true, false
	b.err, b.probing = nil, false
	return nil
}

// trip opens the breaker, or keeps it open after a probe. The error is a *pausedError. The caller holds mu.
func (b *breaker) trip(err error, probe bool) error {
	if b.err != nil && !probe { // a request that began before the breaker opened does not lengthen the backoff
		return b.err
	}
	b.backoff = min(max(2*b.backoff, downFor), downMost)
	b.until = time.Now().Add(max(b.backoff, retryAfter(err)))
	b.err, b.probing = &pausedError{err, b.until}, false
	return b.err
}

// doubt checks the cache after it did not give a file. nil says that only the file failed.
func (b *breaker) doubt(ctx context.Context) error {
	b.uncheck()
	return b.check(ctx, false)
}

// uncheck makes the next caller check the cache, unless the last doubt was a short time ago: requests for many files that fail must
// not become as many requests for nix-cache-info.
func (b *breaker) uncheck() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.alive.IsZero() || time.Since(b.alive) >= aliveFor {
		b.checked, b.doubted = false, true
	}
}

// succeed is called when the cache gave a narinfo, or said that the narinfo is absent.
func (b *breaker) succeed() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err == nil {
		b.backoff = 0
	}
}

func (b *breaker) readInfo() error {
	text, err := b.fetch.Get(b.ctx, cacheInfoName, maxNarinfo)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = fmt.Errorf("it has no %s, so it is no binary cache: %w", cacheInfoName, store.ErrUnavailable)
	case errors.Is(err, store.ErrTooLarge):
		err = tooLarge(cacheInfoName)
	case isForbidden(err):
		return fmt.Errorf("%w: %w", err, store.ErrUnavailable)
	case err != nil:
		return err
	default:
		err = checkCacheInfo(string(text))
	}
	if err != nil {
		return fmt.Errorf("%s: %w", b.cache, err)
	}
	return nil
}

// aboutCache converts an error of the whole cache to the error of a request for one file. The cache has said nothing about the
// file, so the error matches [store.ErrUnavailable].
func aboutCache(ctx context.Context, err error) error {
	if ctx.Err() != nil || errors.Is(err, store.ErrUnavailable) || errors.Is(err, fs.ErrClosed) {
		return err
	}
	unknown := fmt.Errorf("%v: %w", err, store.ErrUnavailable)
	if p := (*pausedError)(nil); errors.As(err, &p) {
		return &pausedError{unknown, p.until}
	}
	return unknown
}
