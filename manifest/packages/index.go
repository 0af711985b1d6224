package packages

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nixreg/nixreg/internal/flight"
	"github.com/nixreg/nixreg/store"
)

// longestPause bounds for how long a listing may be out of date, however long it takes.
const longestPause = 3 * time.Second

// packageIndex is the paths of one store, or of one channel, by repository name. It is made anew when that one's state
// changes; while that is unavailable, the last one serves.
type packageIndex struct {
	store   store.Store // this or channel is set
	channel store.Channel
	// distant tells that names are all there is to go by: paths must not be opened to see what they are.
	distant bool
	group   *flight.Group // lists on a context of its own: clients that leave must not make it start over and over
	key     string

	mu   sync.Mutex
	last listing
}

// listing is the paths by name in one state. It is never changed.
type listing struct {
	state string
	names *nameIndex // nil: there is none yet
	next  time.Time  // not to be made again before
}

func (x *packageIndex) named(ctx context.Context, name string) (named, error) {
	all, err := x.all(ctx)
	return all.named(name), err
}

// tag is the tag that a channel's latest has by the channel's name; "" for a store.
func (x *packageIndex) tag() string {
	if x.channel == nil {
		return ""
	}
	return x.channel.Name()
}

func (x *packageIndex) state(ctx context.Context) (string, error) {
	if x.channel != nil {
		return x.channel.State(ctx)
	}
	return x.store.State(ctx)
}

func (x *packageIndex) all(ctx context.Context) (*nameIndex, error) {
	state, err := x.state(ctx)
	if err != nil {
		return x.instead(err)
	}
	if l := x.latest(); l.serves(state) {
		return l.names, nil
	}
	l, err := flight.Once(ctx, x.group, x.key+state, func(ctx context.Context) (listing, error) {
		if l := x.latest(); l.serves(state) {
			return l, nil
		}
		started := time.Now()
		names, err := x.list(ctx)
		if err != nil {
			return listing{}, err
		}
		// A Nix that writes all the time must not keep a large store busy with listing: one part in ten, about.
		l := listing{state, names, time.Now().Add(min(9*time.Since(started), longestPause))}
		x.mu.Lock()
		defer x.mu.Unlock()
		x.last = l
		return l, nil
	})
	if err != nil {
		return x.instead(err)
	}
	return l.names, nil
}

// instead is what there is where a new listing cannot be had.
func (x *packageIndex) instead(err error) (*nameIndex, error) {
	if l := x.latest(); l.names != nil && errors.Is(err, store.ErrUnavailable) {
		return l.names, nil
	}
	return nil, err
}

func (x *packageIndex) latest() listing {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.last
}

func (l listing) serves(state string) bool {
	return l.names != nil && (l.state == state || time.Now().Before(l.next))
}

func (x *packageIndex) list(ctx context.Context) (*nameIndex, error) {
	var b nameIndexer
	if x.channel != nil {
		for p, err := range x.channel.Packages(ctx) {
			if err != nil {
				return nil, fmt.Errorf("list channel %s: %w", x.channel.Name(), err)
			}
			b.add(store.Entry{Path: p.Path}, p.Names...)
		}
		return b.index(), nil
	}
	for e, err := range x.store.List(ctx) {
		if errors.Is(err, errors.ErrUnsupported) {
			break // a store that cannot list has no names, only hashes
		}
		if err != nil {
			return nil, fmt.Errorf("list store: %w", err)
		}
		b.add(e)
	}
	return b.index(), nil
}
