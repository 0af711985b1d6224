package binarycache

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nixreg/nixreg/store"
)

const (
	freshFor    = 24 * time.Hour // what a narinfo said is believed
	missingFor  = time.Minute    // so is that there is none, or a bad one
	failedFor   = downFor        // a narinfo that cannot be had is not asked for again; longer if the cache says so
	maxInFlight = 4096           // hash parts that are asked for at once
)

// remote reads the narinfo files of a cache that lies elsewhere, and remembers what they say for a while: in memory and,
// what was there, in Records. Each is asked for once, however many want it at the same time.
type remote struct {
	fetch   Fetcher
	trust   *trust
	records Records // nil for none
	opened  time.Time
	warn    sync.Once // that Records fails
	blind   sync.Once // that files are forbidden

	ctx     context.Context // of all requests: it belongs to no single caller; ends with close
	cancel  context.CancelFunc
	running sync.WaitGroup
	ready   chan struct{} // one place: whose turn it is to ask for nix-cache-info

	mu      sync.Mutex
	closed  bool
	checked bool      // nix-cache-info was seen and is right
	doubted bool      // that is not so any more since a file could not be had
	alive   time.Time // when nix-cache-info was last right after such a doubt
	down    outage
	answers answers
	flights map[string]*infoFlight
	changes uint64
	told    time.Time // when the log had a line about old answers
	toldOne time.Time // so too, about a file that could not be had
}

// infoFlight is a narinfo that is being asked for.
type infoFlight struct {
	done   chan struct{} // closed after answer and err are set
	answer *answer
	err    error // of the request; the answer itself may be one, too
}

func newRemote(f Fetcher, t *trust, r Records) *remote {
	x := &remote{
		fetch:   f,
		trust:   t,
		records: r,
		opened:  time.Now(),
		ready:   make(chan struct{}, 1),
		answers: newAnswers(),
		flights: make(map[string]*infoFlight),
	}
	x.ctx, x.cancel = context.WithCancel(context.Background())
	return x
}

// narinfo implements index.
func (x *remote) narinfo(ctx context.Context, hash string) (*narinfo, error) {
	a, f, err := x.join(hash)
	if err != nil {
		return nil, err
	}
	if f != nil {
		select {
		case <-f.done:
			a, err = f.answer, f.err
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if err != nil {
		return nil, err
	}
	return a.info, a.err
}

// join returns the answer for a hash part if there is a good one, else the flight that gets it.
func (x *remote) join(hash string) (*answer, *infoFlight, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	now := time.Now()
	a := x.answers.get(hash)
	switch f := x.flights[hash]; {
	case x.closed:
		return nil, nil, errClosed
	case a != nil && now.Before(a.until):
		return a, nil, nil
	case f != nil:
		return nil, f, nil
	case len(x.flights) >= maxInFlight:
		return nil, nil, fmt.Errorf("%s: %d paths are being asked for already: %w", x.trust.name, maxInFlight, store.ErrUnavailable)
	}
	f := &infoFlight{done: make(chan struct{})}
	x.flights[hash] = f
	x.running.Go(func() { x.fly(hash, a, f) })
	return nil, f, nil
}

// fly gets the answer of f; old is what was answered before, if anything. Nobody waits for the cache, or for others who ask
// it, who has an answer that is still good, or has an old one while the cache cannot be asked.
func (x *remote) fly(hash string, old *answer, f *infoFlight) {
	if old == nil {
		old = x.recorded(hash)
	}
	if old != nil && old.info == nil {
		old = nil
	}
	if old != nil && time.Now().Before(old.until) {
		x.land(hash, f, old, old, nil)
		return
	}
	probe, down := x.turn()
	if down != nil && (old != nil || !probe) {
		x.land(hash, f, old, nil, down)
		f = nil
	}
	if down == nil || probe {
		a, err := x.ask(hash, probe)
		x.land(hash, f, old, a, err)
	}
}

// land ends f, if it is not nil, with what was asked: a or err.
func (x *remote) land(hash string, f *infoFlight, old, a *answer, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	var one *pathFailure
	switch {
	case x.ctx.Err() != nil:
		a, err = nil, errClosed // the callers' own contexts have not ended
	case errors.As(err, &one):
		x.tellOne(err)
		a, err = &answer{err: err, until: one.until}, nil
		if old != nil {
			a = old.again(one.until)
		}
	case err != nil && old != nil && errors.Is(err, store.ErrUnavailable):
		x.tellOld(err)
		a, err = old, nil
	}
	if err == nil && x.answers.put(hash, a) {
		x.changes++
	}
	if f == nil {
		return
	}
	delete(x.flights, hash)
	f.answer, f.err = a, err
	close(f.done)
}

// tellOld logs, once in a while, that old answers are used.
func (x *remote) tellOld(err error) {
	if onceInAWhile(&x.told) {
		x.trust.log.Warn("binary cache cannot be asked, what it said before is used", "cache", x.trust.name, "err", err)
	}
}

// tellOne logs, once in a while, that a file cannot be had.
func (x *remote) tellOne(err error) {
	if onceInAWhile(&x.toldOne) {
		x.trust.log.Warn("binary cache does not give a file, and can be asked for others", "cache", x.trust.name, "err", err)
	}
}

// onceInAWhile reports whether something was told long ago, and notes that it is told now.
func onceInAWhile(told *time.Time) bool {
	now := time.Now()
	if !told.IsZero() && now.Sub(*told) <= 10*time.Minute {
		return false
	}
	*told = now
	return true
}

// ask asks the cache; probe is that of turn. How many ask at once is for the Fetcher to bound: here, files that are tried again
// and again would hold up all others.
func (x *remote) ask(hash string, probe bool) (*answer, error) {
	if err := x.checkInfo(x.ctx, probe); err != nil {
		return nil, err
	}
	a, err := x.get(hash)
	if err == nil {
		x.record(hash, a)
	}
	return a, err
}

// forget implements index: the narinfo is asked for again when it is next wanted.
func (x *remote) forget(ctx context.Context, hash string) {
	x.mu.Lock()
	x.answers.expire(hash)
	x.mu.Unlock()
	x.unrecord(ctx, hash)
}

// hashes implements index.
func (x *remote) hashes() ([]string, error) {
	return nil, fmt.Errorf("%s: a remote cache cannot be listed: %w", x.trust.name, errors.ErrUnsupported)
}

// state implements index. It moves when a narinfo is another than it was, as far as that was remembered, and every hour:
// a cache does not tell what is new in it.
func (x *remote) state(ctx context.Context) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	return fmt.Sprintf("%d-%d", int64(time.Since(x.opened)/time.Hour), x.changes), nil
}

// close ends all requests and waits for them.
func (x *remote) close() error {
	x.mu.Lock()
	x.closed = true
	x.mu.Unlock()
	x.cancel()
	x.running.Wait()
	return nil
}
