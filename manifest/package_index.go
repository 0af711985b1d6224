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

	"nixreg/store"
)

// candidate is a store path under one of its names.
type candidate struct {
	store.Entry
	identity
	order int // in the store's listing
}

// packageIndex is one store's paths by repository name, made anew when the store's state changes.
type packageIndex struct {
	store store.Store

	mu    sync.Mutex // guards what follows
	state string
	names map[string][]*candidate // nil before the first use
	next  time.Time               // not to be listed again before
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
	x.mu.Lock()
	defer x.mu.Unlock()
	// A Nix that writes all the time must not keep a large store busy with listing: one part in ten, at most.
	started := time.Now()
	if x.names != nil && (x.state == state || started.Before(x.next)) {
		return x.names, nil
	}
	names := make(map[string][]*candidate)
	order := 0
	for e, err := range x.store.List(ctx) {
		if errors.Is(err, errors.ErrUnsupported) {
			break // a store that cannot list has no names, only hashes
		}
		if err != nil {
			return nil, fmt.Errorf("list store: %w", err)
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
	x.names, x.state = names, state
	x.next = time.Now().Add(9 * time.Since(started))
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
