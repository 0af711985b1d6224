package channel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/nixreg/nixreg/store"
)

const (
	// firstRetry is the first backoff after a failed refresh; it doubles up to the interval.
	firstRetry = time.Minute
	// readTimeout bounds one refresh.
	readTimeout = 30 * time.Minute
	// remind is the time between two log lines about a channel that cannot be read, and until such a channel is outdated.
	remind = 24 * time.Hour
)

// run refreshes until ctx ends. It sweeps from the second refresh on, when all channels of the process are open.
func (c *Channel) run(ctx context.Context) {
	retry := min(firstRetry, c.every)
	for first := true; ; first = false {
		pause := c.every
		good := c.attempt(ctx)
		if good {
			retry = min(firstRetry, c.every)
		} else {
			pause, retry = retry, min(2*retry, c.every)
		}
		c.touch()
		if good && !first {
			c.sweep(time.Now())
		}
		timer := time.NewTimer(jitter(pause))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// jitter adds or takes up to a tenth, so that many clients do not ask at the same moment.
func jitter(d time.Duration) time.Duration {
	if tenth := int64(d / 10); tenth > 0 {
		d += time.Duration(rand.Int64N(2*tenth) - tenth)
	}
	return d
}

// attempt refreshes once and reports success.
func (c *Channel) attempt(ctx context.Context) bool {
	old := c.begin()
	limited, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	r, encoded, err := c.read(limited, old)
	if err == nil && encoded != nil {
		c.keep(r, encoded)
	}
	news, since := c.end(r, err, time.Now())
	switch {
	case err != nil && ctx.Err() != nil: // the channel is closed
	case err != nil && news:
		c.log.Warn("channel: cannot be read", "channel", c.name, "since", since.UTC().Format(time.RFC3339), "error", err, "packages", known(old))
	case err == nil && news:
		c.log.Info("channel: can be read again", "channel", c.name)
	}
	return err == nil
}

func known(r *release) string {
	if r == nil {
		return "none yet"
	}
	return "those of the last time"
}

// read returns the channel's present release and its encoded index, which is nil if r is old. Both files are of one release: the
// second is read from where a redirect for the first one led, and the first one must not have changed after that.
func (c *Channel) read(ctx context.Context, old *release) (r *release, encoded []byte, err error) {
	if old != nil {
		if same, err := c.unchanged(ctx, old); err != nil || same {
			return old, nil, err
		}
	}
	paths, err := c.fetch.GetIf(ctx, pathsFile, "", maxStored)
	if err != nil {
		return nil, nil, err
	}
	var list *pathList
	err = readBody(pathsFile, paths, func(r io.Reader) (err error) {
		list, err = readPaths(r)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	seen := marks{paths: paths.ETag}
	b := newBuilder(list)
	if seen.packages, err = c.attributes(ctx, &paths, b); err != nil {
		return nil, nil, err
	}
	if err := c.settled(ctx, &paths); err != nil {
		return nil, nil, err
	}
	x, err := b.index()
	if err != nil {
		return nil, nil, err
	}
	r, encoded = newRelease(x, c.location, seen)
	if old == nil || r.state != old.state {
		c.log.Info("channel: read", "channel", c.name, "paths", len(x.paths.ends), "attributes", len(x.attributes.ends),
			slog.Int("passed over", list.skipped))
	}
	return r, encoded, nil
}

// unchanged reports whether the channel still has the files of old.
func (c *Channel) unchanged(ctx context.Context, old *release) (bool, error) {
	paths, err := c.fetch.GetIf(ctx, pathsFile, old.seen.paths, maxStored)
	if err != nil {
		return false, err
	}
	defer paths.close()
	if !paths.same(old.seen.paths) {
		return false, nil
	}
	if c.alone {
		return true, nil
	}
	name, err := paths.beside(packagesFile)
	if err != nil {
		return false, err
	}
	etag := old.seen.packages
	if etag == absent {
		etag = ""
	}
	packages, err := c.fetch.GetIf(ctx, name, etag, maxStored)
	if isAbsent(err) {
		return old.seen.packages == absent, nil
	}
	if err != nil {
		return false, err
	}
	defer packages.close()
	return packages.same(etag), nil
}

// isAbsent reports whether the optional file is absent. Some servers forbid files that they do not have.
func isAbsent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) && !errors.Is(err, store.ErrUnavailable)
}

// attributes reads the list of packages beside the list of paths, if there is one, and returns its ETag.
func (c *Channel) attributes(ctx context.Context, paths *Answer, b *builder) (etag string, err error) {
	if c.alone {
		return absent, nil
	}
	name, err := paths.beside(packagesFile)
	if err != nil {
		return "", err
	}
	packages, err := c.fetch.GetIf(ctx, name, "", maxStored)
	if isAbsent(err) {
		return absent, nil
	}
	if err != nil {
		return "", err
	}
	return packages.ETag, readBody(packagesFile, packages, func(r io.Reader) error { return readPackages(r, b.add) })
}

// settled reports an error if the list of paths is no longer the one that was read.
func (c *Channel) settled(ctx context.Context, paths *Answer) error {
	if c.alone || paths.ETag == "" {
		return nil
	}
	name, err := paths.beside(pathsFile)
	if err != nil {
		return err
	}
	now, err := c.fetch.GetIf(ctx, name, paths.ETag, maxStored)
	if err != nil {
		return err
	}
	defer now.close()
	if !now.same(paths.ETag) {
		return errors.New(pathsFile + " changed while " + packagesFile + " was read")
	}
	return nil
}

// end marks the end of an attempt. news says that the log gets a line: for the first failure, one a day later, and the first success
// after failures. since is the time of the first failure.
func (c *Channel) end(r *release, err error, now time.Time) (news bool, since time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	since = c.since
	switch c.failed = err; {
	case err == nil:
		news = !since.IsZero()
		c.last, c.since = r, time.Time{}
	case since.IsZero():
		news, since = true, now
		c.since, c.logged = now, now
	case now.Sub(c.logged) >= remind:
		news = true
		c.logged = now
	}
	close(c.reading)
	c.reading = nil
	return news, since
}

// Outdated returns an error if the channel has not been readable for a day and its earlier packages are served. The error says since
// when, and why. It never waits.
func (c *Channel) Outdated() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last == nil || c.since.IsZero() || time.Since(c.since) < remind {
		return nil
	}
	public := fmt.Sprintf("the channel %s cannot be read since %s, what it had before is served", c.name, c.since.UTC().Format(time.RFC3339))
	return &failure{fmt.Errorf("%s: %w", public, c.failed), public}
}

// failure is an error with a text for clients. Its own text may quote the channel's files.
type failure struct {
	error
	public string
}

func (f *failure) Unwrap() error  { return f.error }
func (f *failure) Public() string { return f.public }
