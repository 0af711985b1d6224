package binarycache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nixreg/nixreg/internal/flight"
	"github.com/nixreg/nixreg/internal/kv"
	"github.com/nixreg/nixreg/internal/lru"
	"github.com/nixreg/nixreg/store"
)

const (
	freshFor     = 24 * time.Hour // until a narinfo is asked for again
	missingFor   = time.Minute    // until a narinfo that is absent or bad is asked for again
	failedFor    = downFor        // until a narinfo that could not be fetched is, unless the cache names a longer time
	missingBytes = 32 << 20       // of the negative cache
	maxInFlight  = 4096           // hash parts that are asked for at once
	logPause     = 10 * time.Minute
)

// Records keeps small values beyond the process.
type Records = kv.Store

// remote is the index of a cache on a server. It keeps narinfo files in memory and in Records, and absent ones in a negative
// cache in memory. A narinfo is requested once for all callers at the same time.
type remote struct {
	fetch   Fetcher
	trust   *trust
	records Records // nil for none
	opened  time.Time
	breaker *breaker

	ctx       context.Context // of all requests, which belong to no single caller; ends with close
	cancel    context.CancelFunc
	group     *flight.Group
	refreshes sync.WaitGroup // requests that no caller waits for
	asking    atomic.Int64   // at most maxInFlight

	found   lru.Cache[string, *answer] // by hash part
	missing lru.Cache[string, *answer]
	changes atomic.Uint64 // of answers

	recordsLogged, forbiddenLogged sync.Once
	oldLogged, failedLogged        lastTime
}

// answer is the answer of a cache for a hash part: a narinfo of a valid path, or an error. It does not change.
type answer struct {
	info  *narinfo // nil: err has the reason
	err   error
	text  string // of info
	got   time.Time
	until time.Time // time of the next request; the answer is kept longer, in case the cache cannot be asked then
}

func (a *answer) fresh() bool { return time.Now().Before(a.until) }

// pathError is the error of one file that cannot be fetched from a cache that works.
type pathError struct{ pausedError }

func newRemote(f Fetcher, t *trust, r Records) *remote {
	x := &remote{fetch: f, trust: t, records: r, opened: time.Now()}
	x.found.Max, x.missing.Max = maxParsed, missingBytes
	x.ctx, x.cancel = context.WithCancel(context.Background())
	x.breaker, x.group = newBreaker(x.ctx, f, t.name), flight.NewGroup(x.ctx)
	return x
}

// narinfo implements index.
func (x *remote) narinfo(ctx context.Context, hash string) (*narinfo, error) {
	if x.ctx.Err() != nil {
		return nil, errClosed
	}
	a := x.remembered(hash)
	if a == nil || !a.fresh() {
		var err error
		a, err = flight.Once(ctx, x.group, hash, func(context.Context) (*answer, error) { return x.renew(hash) })
		switch {
		case err != nil && x.ctx.Err() != nil && ctx.Err() == nil:
			return nil, errClosed
		case err != nil:
			return nil, err
		}
	}
	return a.info, a.err
}

// remembered returns nil if there is no answer in memory.
func (x *remote) remembered(hash string) *answer {
	if a, ok := x.found.Get(hash); ok {
		return a
	}
	a, _ := x.missing.Get(hash)
	return a
}

// renew gets the answer for a hash part. It does not wait for the cache if there is a fresh answer, or if there is an old answer
// and the breaker is open.
func (x *remote) renew(hash string) (*answer, error) {
	defer x.asking.Add(-1)
	if x.asking.Add(1) > maxInFlight {
		return nil, fmt.Errorf("%s: %d paths are being asked for already: %w", x.trust.name, maxInFlight, store.ErrUnavailable)
	}
	old := x.remembered(hash)
	if old == nil {
		old = x.recorded(hash)
	}
	if old != nil && old.info == nil && !old.fresh() {
		old = nil
	}
	if old != nil && old.fresh() {
		return x.settle(hash, nil, old, nil)
	}
	probe, open := x.breaker.allow()
	switch {
	case open == nil, old == nil && probe:
		return x.ask(hash, old, probe)
	case probe:
		x.refreshes.Go(func() { x.ask(hash, old, true) })
	}
	return x.settle(hash, old, nil, open)
}

// ask asks the cache; probe is the result of the breaker's allow. The Fetcher bounds the number of requests. With a bound here,
// files that fail again and again would delay all others.
func (x *remote) ask(hash string, old *answer, probe bool) (*answer, error) {
	err := x.breaker.check(x.ctx, probe)
	if err != nil {
		return x.settle(hash, old, nil, err)
	}
	a, err := x.get(hash)
	if err == nil {
		x.record(hash, a)
	}
	return x.settle(hash, old, a, err)
}

// settle remembers a. After an error, it uses the old answer instead, if there is one.
func (x *remote) settle(hash string, old, a *answer, err error) (*answer, error) {
	var one *pathError
	switch {
	case x.ctx.Err() != nil:
		return nil, errClosed // the callers' own contexts have not ended
	case errors.As(err, &one):
		if x.failedLogged.passed(logPause) {
			x.trust.log.Warn("binary cache does not give a file, and can be asked for others", "cache", x.trust.name, "err", err)
		}
		a, err = &answer{err: err, until: one.until}, nil
		if old != nil {
			later := *old
			later.until = one.until
			a = &later
		}
	case err != nil && old != nil && errors.Is(err, store.ErrUnavailable):
		if x.oldLogged.passed(logPause) {
			x.trust.log.Warn("binary cache cannot be asked, what it said before is used", "cache", x.trust.name, "err", err)
		}
		a, err = old, nil
	}
	if err != nil {
		return nil, err
	}
	if before := x.remembered(hash); before != nil && before.text != a.text {
		x.changes.Add(1)
	}
	if a.info != nil {
		x.missing.Delete(hash)
		x.found.Put(hash, a, 2*int64(len(a.text)))
	} else {
		x.found.Delete(hash)
		x.missing.Put(hash, a, int64(len(hash)+len(a.err.Error())))
	}
	return a, nil
}

// lastTime is the time of the last line of a kind in the log.
type lastTime struct{ unixNano atomic.Int64 }

// passed reports whether the last time was longer ago than pause, and makes now the last time.
func (l *lastTime) passed(pause time.Duration) bool {
	last, now := l.unixNano.Load(), time.Now().UnixNano()
	return (last == 0 || now-last > int64(pause)) && l.unixNano.CompareAndSwap(last, now)
}

// get asks the cache for a narinfo. An absent or unusable narinfo is an answer, too. If the cache works but the narinfo cannot be
// fetched, the error is a *pathError.
func (x *remote) get(hash string) (*answer, error) {
	name := hash + narinfoSuffix
	text, err := x.fetch.Get(x.ctx, name, maxNarinfo)
	now := time.Now()
	unavailable, forbidden := errors.Is(err, store.ErrUnavailable), isForbidden(err)
	if unavailable || forbidden {
		if open := x.breaker.doubt(x.ctx); open != nil {
			return nil, aboutCache(x.ctx, open)
		}
	} else {
		x.breaker.succeed()
	}
	switch {
	case forbidden:
		x.logForbidden(err)
		fallthrough
	case errors.Is(err, fs.ErrNotExist):
		return &answer{err: fmt.Errorf("%s: %s: %w", x.trust.name, name, fs.ErrNotExist), until: now.Add(missingFor)}, nil
	case errors.Is(err, store.ErrTooLarge):
		return &answer{err: fmt.Errorf("%s: %w", x.trust.name, tooLarge(name)), until: now.Add(missingFor)}, nil
	case unavailable:
		return nil, &pathError{pausedError{err, now.Add(max(failedFor, retryAfter(err)))}}
	case err != nil:
		return nil, err
	}
	return x.understand(hash, string(text), now), nil
}

// understand makes an answer from the text of a narinfo, which was fetched at a time.
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

func (x *remote) logForbidden(err error) {
	x.forbiddenLogged.Do(func() {
		x.trust.log.Warn("binary cache forbids a file: such files count as absent, which is right unless the credentials are wrong; told once",
			"cache", x.trust.name, "err", err)
	})
}

// Open implements opener. If the cache is down, or is no cache any more, it is not asked for the archive, and the error says
// nothing about the archive. After an archive that could not be fetched, the next caller checks the cache. A forbidden archive
// counts as absent if the cache works.
func (x *remote) Open(ctx context.Context, name string) (io.ReadCloser, error) {
	probe, err := x.breaker.allow()
	if err == nil || probe {
		err = x.breaker.check(ctx, probe)
	}
	if err != nil {
		return nil, aboutCache(ctx, err)
	}
	r, err := x.fetch.Open(ctx, name)
	switch {
	case isForbidden(err):
		if open := x.breaker.doubt(ctx); open != nil {
			return nil, aboutCache(ctx, open)
		}
		x.logForbidden(err)
		return nil, fmt.Errorf("%v: %w", err, fs.ErrNotExist)
	case errors.Is(err, store.ErrUnavailable):
		x.breaker.uncheck()
	}
	return r, err
}

// forget implements index. The next use of the narinfo asks the cache for it again.
func (x *remote) forget(ctx context.Context, hash string) {
	if a, ok := x.found.Get(hash); ok {
		later := *a
		later.until = time.Time{}
		x.found.Put(hash, &later, 2*int64(len(a.text)))
	}
	x.unrecord(ctx, hash)
}

// hashes implements index.
func (x *remote) hashes() ([]string, error) {
	return nil, fmt.Errorf("%s: a remote cache cannot be listed: %w", x.trust.name, errors.ErrUnsupported)
}

// state implements index. It changes with each answer that differs from the remembered answer before it. It changes every hour as
// well, because a cache does not announce new paths.
func (x *remote) state(ctx context.Context) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	return fmt.Sprintf("%d-%d", int64(time.Since(x.opened)/time.Hour), x.changes.Load()), nil
}

// close ends all requests and waits for them.
func (x *remote) close() error {
	x.cancel()
	x.group.Close()
	x.refreshes.Wait()
	return nil
}

// recordHead is the start of a record. A decimal number of Unix seconds, a newline, and the text of a narinfo follow. A record is
// not trusted more than the cache: signatures are verified at each read, because other keys may have been trusted at the write.
const recordHead = "narinfo 1 "

func (x *remote) recordKey(hash string) string { return "narinfo/" + x.trust.name + "/" + hash }

// recorded returns the answer that Records has for a hash part; nil if Records has no usable one.
func (x *remote) recorded(hash string) *answer {
	if x.records == nil {
		return nil
	}
	b, err := x.records.Get(x.ctx, x.recordKey(hash))
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			x.logRecords(err)
		}
		return nil
	}
	text, at, ok := parseRecord(string(b))
	if !ok || len(text) > maxNarinfo {
		return nil
	}
	if at.After(time.Now()) { // written by another clock, so its age is unknown
		at = time.Time{}
	}
	if a := x.understand(hash, text, at); a.info != nil {
		return a
	}
	return nil
}

func parseRecord(s string) (text string, at time.Time, ok bool) {
	line, text, ok := strings.Cut(s, "\n")
	num, headed := strings.CutPrefix(line, recordHead)
	sec, err := strconv.ParseInt(num, 10, 64)
	return text, time.Unix(sec, 0), ok && headed && err == nil
}

// record writes a narinfo to Records, or deletes the record if the cache has no valid narinfo any more.
func (x *remote) record(hash string, a *answer) {
	switch {
	case x.records == nil:
	case a.info == nil:
		x.unrecord(x.ctx, hash)
	default:
		value := fmt.Appendf(nil, "%s%d\n%s", recordHead, a.got.Unix(), a.text)
		if err := x.records.Put(x.ctx, x.recordKey(hash), value); err != nil {
			x.logRecords(err)
		}
	}
}

// unrecord deletes a record. Records cannot delete: an empty value is no record.
func (x *remote) unrecord(ctx context.Context, hash string) {
	if x.records == nil {
		return
	}
	key := x.recordKey(hash)
	if b, err := x.records.Get(ctx, key); err != nil || len(b) == 0 {
		return
	}
	if err := x.records.Put(ctx, key, nil); err != nil {
		x.logRecords(err)
	}
}

// logRecords logs the first failure. Without records nixreg works, but more slowly.
func (x *remote) logRecords(err error) {
	if x.ctx.Err() == nil {
		x.recordsLogged.Do(func() { x.trust.log.Warn("narinfo records", "cache", x.trust.name, "err", err) })
	}
}
