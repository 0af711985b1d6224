package manifest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"nixreg/manifest/digests"
	"nixreg/store"
)

// candidate is a store path under one of its names.
type candidate struct {
	store.Entry
	identity
	order int // in the store's listing
}

// longestPause bounds for how long a listing may be out of date, however long it takes.
const longestPause = 3 * time.Second

// packageIndex is one store's paths by repository name, made anew when the store's state changes.
type packageIndex struct {
	store store.Store
	group *digests.Group // lists on a context of its own: clients that leave must not make it start over and over
	key   string

	mu   sync.Mutex
	last listing
}

// listing is a store's paths by name in one state. It is never changed.
type listing struct {
	state string
	names map[string][]*candidate // nil: there is none yet
	next  time.Time               // not to be made again before
}

func (x *packageIndex) named(ctx context.Context, name string) ([]*candidate, error) {
	all, err := x.all(ctx)
	return all[name], err
}

func (x *packageIndex) all(ctx context.Context) (map[string][]*candidate, error) {
	state, err := x.store.State(ctx)
	if err != nil {
		return nil, err
	}
	if l := x.latest(); l.serves(state) {
		return l.names, nil
	}
	l, err := digests.Once(ctx, x.group, x.key+state, func(ctx context.Context) (listing, error) {
		if l := x.latest(); l.serves(state) {
			return l, nil
		}
		started := time.Now()
		names, err := x.list(ctx)
		if err != nil {
			return listing{}, fmt.Errorf("list store: %w", err)
		}
		// A Nix that writes all the time must not keep a large store busy with listing: one part in ten, about.
		l := listing{state, names, time.Now().Add(min(9*time.Since(started), longestPause))}
		x.mu.Lock()
		defer x.mu.Unlock()
		x.last = l
		return l, nil
	})
	return l.names, err
}

func (x *packageIndex) latest() listing {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.last
}

func (l listing) serves(state string) bool {
	return l.names != nil && (l.state == state || time.Now().Before(l.next))
}

func (x *packageIndex) list(ctx context.Context) (map[string][]*candidate, error) {
	names := make(map[string][]*candidate)
	order := 0
	for e, err := range x.store.List(ctx) {
		if errors.Is(err, errors.ErrUnsupported) {
			break // a store that cannot list has no names, only hashes
		}
		if err != nil {
			return nil, err
		}
		if !offered(e) {
			continue
		}
		c := &candidate{Entry: e, identity: identify(e), order: order}
		order++
		if repo := repositoryName(c.name); repo != "" {
			names[repo] = append(names[repo], c)
		}
	}
	for _, c := range names {
		slices.SortFunc(c, better)
	}
	return names, nil
}

// better sorts the candidates of one name: outs first, then the highest version, the newest registration, the store's
// own order where it knows no time, the hash.
func better(a, b *candidate) int {
	if c := boolCompare(a.output != "", b.output != ""); c != 0 {
		return c
	}
	if c := cmp.Or(-compareVersions(a.version, b.version), -cmp.Compare(a.Registered, b.Registered)); c != 0 {
		return c
	}
	if a.Registered == 0 && a.order != b.order {
		return cmp.Compare(a.order, b.order)
	}
	return strings.Compare(a.Path.Hash(), b.Path.Hash())
}

func boolCompare(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}
