// Package channel reads which packages a channel of nixpkgs has, without Nix.
//
// A channel is a folder on a web server or on this machine. It has a list of store paths (store-paths.xz) and, in most cases, a list
// of packages by attribute (packages.json.br). The package owns both formats, the index that joins them, its copy on disk, and the
// refreshes. It must not know stores, images or HTTP ([Fetcher]).
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

// unread is the state of a channel that has not been read yet.
const unread = "unread"

// Options are the arguments of [Open].
type Options struct {
	// Name and Location are as [ParseName] returns them.
	Name     string
	Location string
	// Fetch gets the files below [Folder] of Location. It is not used for a folder on this machine.
	Fetch Fetcher
	// Dir is the directory of the last good indexes, one folder for each channel; "" keeps none.
	Dir string
	// Every is the time between two refreshes; 0 is an hour.
	Every time.Duration
	Log   *slog.Logger
}

// Folder returns the URL or path of a channel's folder: location itself, or its folder if location names the list of paths.
func Folder(location string) string {
	f, _ := single(location)
	return f
}

// Channel is a [store.Channel] that refreshes itself in the background. Safe for concurrent use.
type Channel struct {
	name     string
	location string // without credentials
	alone    bool   // the channel has only the list of paths
	fetch    Fetcher
	file     string // of the last good index; "" keeps none
	every    time.Duration
	log      *slog.Logger

	cancel context.CancelFunc
	ended  chan struct{} // closed at the end of the refreshes

	mu      sync.Mutex
	last    *release      // nil: never read
	failed  error         // of the last attempt
	since   time.Time     // of the first failed attempt after the last good one; zero if the last attempt was good
	logged  time.Time     // of the last log line about failures
	reading chan struct{} // closed when the running attempt ends; nil between attempts

	kept *release // the release in the file; nil if that is not known. Used by Open, then by the refreshes alone.
}

var _ store.Channel = (*Channel)(nil)

// Open returns a channel with the packages of the last good index, if there is one. It starts the refreshes, which end with ctx or
// Close. A channel out of reach is no error; illegal options give one matching [fs.ErrInvalid]. The caller closes the channel.
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

// restore loads the kept index below dir. One that cannot be used is written again later.
func (c *Channel) restore(dir string) error {
	if dir == "" {
		return nil
	}
	// The hash is for file systems that ignore case.
	own := filepath.Join(dir, fmt.Sprintf("%s-%.4x", c.name, sha256.Sum256([]byte(c.name))))
	if err := os.MkdirAll(own, 0o777); err != nil {
		return err
	}
	c.file = filepath.Join(own, indexFile)
	c.touch() // before the sweep of another channel
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

// Close ends the refreshes and waits for the running one. The packages stay readable.
func (c *Channel) Close() {
	c.cancel()
	<-c.ended
}

// Name implements [store.Channel].
func (c *Channel) Name() string { return c.name }

// State implements [store.Channel]. It never waits and never fails: a channel that has not been read has a state, too.
func (c *Channel) State(context.Context) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last == nil {
		return unread, nil
	}
	return c.last.state, nil
}

// Packages implements [store.Channel]: the paths in the order of the channel, with their names sorted. It waits for the first read
// of a channel, a minute at most.
//
// An attribute names every path that has the name of its derivation, or of an output of that: a channel is built for several
// systems, and does not say which path is for which system.
func (c *Channel) Packages(ctx context.Context) iter.Seq2[store.Package, error] {
	return func(yield func(store.Package, error) bool) {
		r, err := c.release(ctx)
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

// release returns the last release, and waits for the first one.
func (c *Channel) release(ctx context.Context) (*release, error) {
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

// unavailable hides the kind of reason: a missing file of the channel must not look like a missing store path.
func (c *Channel) unavailable(reason error) error {
	public := fmt.Sprintf("the channel %s was not read yet", c.name)
	return &failure{fmt.Errorf("%w: %s: %v", store.ErrUnavailable, public, reason), public}
}

func (c *Channel) now() (last *release, reading <-chan struct{}, failed error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last, c.reading, c.failed
}

// begin marks the start of an attempt and returns the last release.
func (c *Channel) begin() *release {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reading == nil {
		c.reading = make(chan struct{})
	}
	return c.last
}
