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

// longestPause bounds the time for which a listing may be out of date.
const longestPause = 3 * time.Second

// packageIndex holds the paths of a store or of a channel by repository name. It lists again when the state of the store changes.
// While the store is unavailable, the last listing is used.
type packageIndex struct {
	store   store.Store // this or channel is set
	channel store.Channel
	// distant means that opening a path is a download, so that only names are looked at.
	distant bool
	group   *flight.Group // runs listings; a client that leaves must not stop one, or none would ever end
	key     string

	mu   sync.Mutex
	last listing
}

// listing holds the paths by name in one state. It never changes.
type listing struct {
	state string
	names *nameIndex // nil before the first listing
	next  time.Time  // no new listing before
}

func (x *packageIndex) named(ctx context.Context, name string) (named, error) {
	all, err := x.all(ctx)
	return all.named(name), err
}

// tag returns the name of the channel, which is a tag for its latest version. It is "" for a store.
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
		// While Nix writes all the time, listing a large store may take about a tenth of the time.
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

// instead returns the last listing if the store is unavailable.
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
			b.addPackage(p)
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
