package binarycache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/nixreg/nixreg/store"
)

const (
	downFor  = 5 * time.Second // a cache that could not be asked is left alone; twice as long after each try in vain
	downMost = 2 * time.Minute

	aliveFor      = 5 * time.Second // one good look at nix-cache-info vouches for the cache, whatever files fail meanwhile
	maxRetryAfter = time.Hour
)

// outage is a time in which the whole cache is of no use: its nix-cache-info cannot be had. Guarded by remote.mu.
type outage struct {
	err     error         // why; nil while there is none
	until   time.Time     // when somebody may try again
	pause   time.Duration // the last one; beyond the outage, until the cache gives a narinfo or says that there is none
	probing bool          // somebody does
}

// paused is a failure after which a file, or the whole cache, is left alone for a while.
type paused struct {
	error
	until time.Time // when it is worth another try
}

func (p *paused) Unwrap() error { return p.error }

// RetryAfter is the rest of the pause, for clients; 0 when it is over.
func (p *paused) RetryAfter() time.Duration { return max(0, time.Until(p.until)) }

// turn returns why the cache is of no use now, if it is not. Of those who come when a pause is over one gets probe: it goes
// ahead all the same, with checkInfo.
func (x *remote) turn() (probe bool, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	d := &x.down
	if d.err == nil || d.probing || time.Now().Before(d.until) {
		return false, d.err
	}
	d.probing = true
	return true, d.err
}

// checkInfo looks at the cache's nix-cache-info, once, and again after the cache could not be asked or was not right: then
// only for the one who probes. That there is none means, as Nix has it, that this is no cache. What waits here ends with ctx.
//
// Source: Nix, libstore/http-binary-cache-store.cc, init.
func (x *remote) checkInfo(ctx context.Context, probe bool) error {
	select {
	case x.ready <- struct{}{}:
		defer func() { <-x.ready }()
	case <-ctx.Done():
		if probe {
			x.mu.Lock()
			defer x.mu.Unlock()
			x.down.probing = false
		}
		return ctx.Err()
	}
	x.mu.Lock()
	checked, down := x.checked, x.down.err
	x.mu.Unlock()
	if down != nil && !probe { // since this one waited
		return down
	}
	if checked && !probe {
		return nil
	}
	err := x.readInfo()
	if x.ctx.Err() != nil {
		return errClosed
	}
	if err != nil {
		return x.fail(err, probe)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.doubted {
		x.alive = time.Now()
	}
	x.checked, x.doubted = true, false
	x.down = outage{pause: x.down.pause}
	return nil
}

// doubt asks whether the cache can be asked at all, after it did not give a file: nil says that the failure is the file's alone.
func (x *remote) doubt(ctx context.Context) error {
	x.mu.Lock()
	x.uncheck()
	x.mu.Unlock()
	return x.checkInfo(ctx, false)
}

// uncheck makes who comes next look at the cache, unless somebody has just done so for the same reason: else those who ask for
// many files that fail could have it looked at for each.
func (x *remote) uncheck() {
	if x.alive.IsZero() || time.Since(x.alive) >= aliveFor {
		x.checked, x.doubted = false, true
	}
}

func (x *remote) readInfo() error {
	text, err := x.fetch.Get(x.ctx, cacheInfoName, maxNarinfo)
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
		return fmt.Errorf("%s: %w", x.trust.name, err)
	}
	return nil
}

// fail begins an outage, or goes on with the one that was probed. Of those who asked before it began none makes it longer. The
// error that comes back is a *paused.
func (x *remote) fail(err error, probe bool) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.down.err != nil && !probe {
		return x.down.err
	}
	pause := min(max(2*x.down.pause, downFor), downMost)
	until := time.Now().Add(max(pause, retryAfter(err)))
	x.down = outage{err: &paused{err, until}, until: until, pause: pause}
	return x.down.err
}

// answered is called when the cache said something of a path.
func (x *remote) answered() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.down.err == nil {
		x.down.pause = 0
	}
}

// Open implements opener. No archive is asked of a cache that cannot be asked, or is none any more: that is no word of the
// archive. One that could not be had is no outage, it may lie elsewhere; but who comes next has a look first. One that is
// forbidden is absent if the cache can be asked.
func (x *remote) Open(ctx context.Context, name string) (io.ReadCloser, error) {
	probe, err := x.turn()
	if err == nil || probe {
		err = x.checkInfo(ctx, probe)
	}
	if err != nil {
		return nil, x.noWord(ctx, err)
	}
	r, err := x.fetch.Open(ctx, name)
	switch {
	case isForbidden(err):
		if down := x.doubt(ctx); down != nil {
			return nil, x.noWord(ctx, down)
		}
		x.tellForbidden(err)
		return nil, fmt.Errorf("%v: %w", err, fs.ErrNotExist)
	case errors.Is(err, store.ErrUnavailable):
		x.mu.Lock()
		defer x.mu.Unlock()
		x.uncheck()
	}
	return r, err
}

// noWord is what the error of a cache is to those who want a file of it, of which it says nothing.
func (x *remote) noWord(ctx context.Context, err error) error {
	if ctx.Err() != nil || errors.Is(err, store.ErrUnavailable) || errors.Is(err, fs.ErrClosed) {
		return err
	}
	unknown := fmt.Errorf("%v: %w", err, store.ErrUnavailable)
	if p := (*paused)(nil); errors.As(err, &p) {
		return &paused{unknown, p.until}
	}
	return unknown
}
