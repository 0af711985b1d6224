package channel

import (
	"fmt"
	"time"
)

// remind is how often the log is told of a channel that cannot be read, and how long one must not be read to be outdated.
const remind = 24 * time.Hour

// end notes the outcome of an attempt, and reports whether it is news: the first failure, another a day later, the first
// success after that. since is when the first failure was.
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
		c.since, c.told = now, now
	case now.Sub(c.told) >= remind:
		news = true
		c.told = now
	}
	close(c.reading)
	c.reading = nil
	return news, since
}

// Outdated returns an error that says since when, and why, a channel cannot be read, if that is longer than a day and there
// are packages of earlier; else nil. It never waits.
func (c *Channel) Outdated() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last == nil || c.since.IsZero() || time.Since(c.since) < remind {
		return nil
	}
	public := fmt.Sprintf("the channel %s cannot be read since %s, what it had before is served", c.name, c.since.UTC().Format(time.RFC3339))
	return &failure{fmt.Errorf("%s: %w", public, c.failed), public}
}

// failure is an error with a text for everybody. Its own may quote the channel's files.
type failure struct {
	error
	public string
}

func (f *failure) Unwrap() error  { return f.error }
func (f *failure) Public() string { return f.public }
