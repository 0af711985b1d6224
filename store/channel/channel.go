// Package channel reads which packages a channel of nixpkgs has, without Nix.
//
// It owns the names: a channel is a folder, on a web server or on this machine, with a list of store paths
// (store-paths.xz) and, mostly, one of packages by attribute (packages.json.br). The package reads both, joins them, keeps
// the result on disk and refreshes it. It must not know stores, images or how a server is asked ([Fetcher]).
//
//	name, location, err := channel.ParseName("nixos-unstable")
//	c, err := channel.Open(ctx, channel.Options{Name: name, Location: location, Fetch: fetcher, Dir: dir, Log: log})
//	defer c.Close()
//	for p, err := range c.Packages(ctx) { … } // p.Path, p.Names
package channel

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/nixreg/nixreg/store"
)

const (
	defaultEvery = time.Hour
	// maxWait bounds how long Packages waits for a channel that is being read for the first time.
	maxWait = time.Minute
)

// unread is the state of a channel without packages.
const unread = "unread"

// Options say which channel is read, and how.
type Options struct {
	// Name and Location are as [ParseName] returns them.
	Name     string
	Location string
	// Fetch gets what lies below [Folder] of Location. Not used for a folder on this machine.
	Fetch Fetcher
	// Dir is where the last good index is kept, each channel's in a folder of its own; "" keeps none.
	Dir string
	// Every is the time between two refreshes; 0 is an hour.
	Every time.Duration
	Log   *slog.Logger
}

// Folder returns the address or path below which a channel's files are asked for: location, but for one that names the
// list of paths itself.
func Folder(location string) string {
	f, _ := single(location)
	return f
}

// Channel is a [store.Channel] that refreshes itself in the background. Safe for concurrent use.
type Channel struct {
	name     string
	location string // without credentials
	alone    bool   // there is only the list of paths
	fetch    Fetcher
	file     string // where the last good index is; "" keeps none
	every    time.Duration
	log      *slog.Logger

	cancel context.CancelFunc
	ended  chan struct{} // closed when the refreshing has ended

	mu      sync.Mutex
	last    *release      // nil: never read
	failed  error         // of the last attempt
	since   time.Time     // when the first of the attempts failed that have failed since; zero if the last one did not
	told    time.Time     // when the log had a line about that
	reading chan struct{} // closed when the attempt under way ends; nil between attempts

	kept *release // whose index the file holds; nil if that is not known. For Open, then for who refreshes.
}

var _ store.Channel = (*Channel)(nil)

// Open returns a channel with the packages that were kept, if any were, and begins to refresh it, until ctx ends or Close
// is called. A channel that is out of reach is no error; illegal options match [fs.ErrInvalid].
func Open(ctx context.Context, o Options) (*Channel, error) {
	if err := checkName(o.Name); err != nil {
		return nil, fmt.Errorf("channel %.100q: %w: %w", o.Name, err, fs.ErrInvalid)
	}
	c := &Channel{
		name: o.Name, location: redact(o.Location), fetch: o.Fetch, every: cmp.Or(o.Every, defaultEvery),
		log: cmp.Or(o.Log, slog.New(slog.DiscardHandler)), ended: make(chan struct{}), reading: make(chan struct{}),
	}
	below, alone := single(o.Location)
	c.alone = alone
	if strings.HasPrefix(below, "/") {
		c.fetch = folder(below)
	}
	if c.fetch == nil || c.every < 0 {
		return nil, fmt.Errorf("channel %s: no fetcher for %s, or an interval below zero: %w", c.name, c.location, fs.ErrInvalid)
	}
	if err := c.restore(o.Dir); err != nil {
		return nil, fmt.Errorf("channel %s: %w", c.name, err)
	}
	ctx, c.cancel = context.WithCancel(ctx)
	go func() {
		defer close(c.ended)
		c.run(ctx)
	}()
	return c, nil
}

// restore loads what was kept below dir. What cannot be used will be written anew.
func (c *Channel) restore(dir string) error {
	if dir == "" {
		return nil
	}
	// The hash keeps apart what a file system that ignores case does not.
	own := filepath.Join(dir, fmt.Sprintf("%s-%.4x", c.name, sha256.Sum256([]byte(c.name))))
	if err := os.MkdirAll(own, 0o777); err != nil {
		return err
	}
	c.file = filepath.Join(own, indexFile)
	c.inUse() // before another sweeps
	r, err := load(c.file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		c.log.Warn("channel: its kept index cannot be used and is made anew", "channel", c.name, "error", err)
	case r.location == c.location:
		c.last, c.kept = r, r
	}
	return nil
}

// Close ends the refreshing and waits for that. The packages stay as they are.
func (c *Channel) Close() {
	c.cancel()
	<-c.ended
}

// Name implements [store.Channel].
func (c *Channel) Name() string { return c.name }

// State implements [store.Channel]. It never waits and never fails: a channel that was not read yet has a state, too.
func (c *Channel) State(context.Context) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last == nil {
		return unread, nil
	}
	return c.last.state, nil
}

// Packages implements [store.Channel]: the paths in the channel's order, their names sorted. A channel that is being read
// for the first time is waited for, a minute at most.
//
// An attribute names every path that is called as its derivation is, or as one of that one's outputs: a channel is built
// for several systems, and does not say which path is for which.
func (c *Channel) Packages(ctx context.Context) iter.Seq2[store.Package, error] {
	return func(yield func(store.Package, error) bool) {
		r, err := c.ready(ctx)
		if err != nil {
			yield(store.Package{}, err)
			return
		}
		for p := range r.packages() {
			if err := ctx.Err(); err != nil {
				yield(store.Package{}, err)
				return
			}
			if !yield(p, nil) {
				return
			}
		}
	}
}

// ready returns the packages there are, and waits for the first ones.
func (c *Channel) ready(ctx context.Context) (*release, error) {
	last, reading, _ := c.now()
	if last == nil && reading != nil {
		timer := time.NewTimer(maxWait)
		defer timer.Stop()
		select {
		case <-reading:
		case <-timer.C:
			return nil, c.unavailable(errors.New("it is being read"))
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	last, _, failed := c.now()
	if last == nil {
		return nil, c.unavailable(failed)
	}
	return last, nil
}

// unavailable hides what kind of error reason is: that a file is not there must not look like a path that is not.
func (c *Channel) unavailable(reason error) error {
	public := fmt.Sprintf("the channel %s was not read yet", c.name)
	return &failure{fmt.Errorf("%w: %s: %v", store.ErrUnavailable, public, reason), public}
}

func (c *Channel) now() (last *release, reading <-chan struct{}, failed error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last, c.reading, c.failed
}

// begin notes that an attempt is under way and returns the release there is.
func (c *Channel) begin() *release {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reading == nil {
		c.reading = make(chan struct{})
	}
	return c.last
}
