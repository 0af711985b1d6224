package binarycache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"nixreg/store"
)

const (
	downFor  = 5 * time.Second // a cache that could not be asked is left alone; twice as long after each try in vain
	downMost = 2 * time.Minute
)

// outage is a time in which the whole cache is of no use. Guarded by remote.mu.
type outage struct {
	err     error         // why; nil while there is none
	until   time.Time     // when somebody may try again
	pause   time.Duration // the last one; beyond the outage, until the cache gives a narinfo or says that there is none
	probing bool          // somebody does
	hash    string        // whose narinfo could not be had; "" if it is the cache itself. Kept like pause
}

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
		x.fail(err, probe, "")
		return err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.checked = true
	x.down = outage{pause: x.down.pause, hash: x.down.hash}
	return nil
}

func (x *remote) readInfo() error {
	text, err := x.fetch.Get(x.ctx, cacheInfoName, maxNarinfo)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = fmt.Errorf("it has no %s, so it is no binary cache: %w", cacheInfoName, store.ErrUnavailable)
	case errors.Is(err, store.ErrTooLarge):
		err = tooLarge(cacheInfoName)
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

// fail begins an outage, or goes on with the one that was probed. Of those who asked before it began none makes it longer, nor
// does one narinfo that fails time after time.
func (x *remote) fail(err error, probe bool, hash string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.down.err != nil && !probe {
		return
	}
	pause := downFor
	if hash == "" || hash != x.down.hash {
		pause = min(max(2*x.down.pause, downFor), downMost)
	}
	x.down = outage{err: err, until: time.Now().Add(pause), pause: pause, hash: hash}
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
// archive. One that could not be had is no outage, it may lie elsewhere; but who comes next has a look first.
func (x *remote) Open(ctx context.Context, name string) (io.ReadCloser, error) {
	probe, err := x.turn()
	switch {
	case err == nil || probe:
		err = x.checkInfo(ctx, probe)
	case x.downForPath():
		err = nil
	}
	switch {
	case err == nil:
	case ctx.Err() != nil, errors.Is(err, store.ErrUnavailable), errors.Is(err, fs.ErrClosed):
		return nil, err
	default:
		return nil, fmt.Errorf("%v: %w", err, store.ErrUnavailable)
	}
	r, err := x.fetch.Open(ctx, name)
	if errors.Is(err, store.ErrUnavailable) {
		x.mu.Lock()
		defer x.mu.Unlock()
		x.checked, x.down.hash = false, ""
	}
	return r, err
}

// downForPath reports whether all that is known of an outage is that a narinfo could not be had.
func (x *remote) downForPath() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.down.hash != "" && !x.down.probing
}
