package store

import (
	"context"
	"slices"
)

// maxSharing bounds the lists of paths that a union divides among its stores at the same time.
const maxSharing = 16

// Prefetch implements Prefetcher. It may take a while to find out which store has a path; that work ends when ctx ends or
// the union is closed. If 16 lists are being divided, further ones are ignored: Open downloads their paths.
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
		defer func() { _ = recover() }() // Open meets the panic of a store again, and its caller makes an error of it
		u.share(ctx, paths)
	})
}

// share hands the paths of each store to that store, in one call and in their order.
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
		if err == nil { // else Open meets the error again
			of[i] = append(of[i], p)
		}
	}
	for i, s := range u.stores {
		Prefetch(ctx, s, of[i])
	}
}

// Close ends the work that Prefetch has begun and waits for its end. It does not close the stores.
func (u *Joint) Close() error {
	u.mu.Lock()
	u.closed = true
	u.mu.Unlock()
	u.cancel()
	u.running.Wait()
	return nil
}
