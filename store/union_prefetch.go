package store

import (
	"context"
	"slices"
)

// maxSharing is how many lists of paths are divided among the stores of a union at the same time.
const maxSharing = 16

// Prefetch implements Prefetcher. Which store has a path may take a while to find out where nobody asked before; that
// goes on until ctx ends or the union is closed. Of more than 16 lists at the same time the last ones are let go: their
// paths are fetched when they are opened.
func (u *Joint) Prefetch(ctx context.Context, paths []Path) {
	if !slices.ContainsFunc(u.stores, func(s Store) bool { _, ok := s.(Prefetcher); return ok }) {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closed {
		return
	}
	select {
	case u.sharing <- struct{}{}:
	default:
		return
	}
	paths = slices.Clone(paths)
	u.running.Go(func() {
		defer func() { <-u.sharing }()
		defer func() { _ = recover() }() // of a store: Open meets it again, where somebody makes an error of it
		u.share(ctx, paths)
	})
}

// share gives each path to the first store that has it, all of one store at once and in their order.
func (u *Joint) share(ctx context.Context, paths []Path) {
	asking, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(u.ctx, stop)()
	of := make([][]Path, len(u.stores))
	for _, p := range paths {
		_, i, err := u.object(asking, p)
		if asking.Err() != nil {
			return
		}
		if err == nil { // or else Open meets it again
			of[i] = append(of[i], p)
		}
	}
	for i, s := range u.stores {
		Prefetch(ctx, s, of[i])
	}
}

// Close ends what Prefetch began to divide, and waits for that. It closes none of the stores.
func (u *Joint) Close() error {
	u.mu.Lock()
	u.closed = true
	u.mu.Unlock()
	u.cancel()
	u.running.Wait()
	return nil
}
