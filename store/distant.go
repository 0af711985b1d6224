package store

import "context"

// IsDistant reports whether opening a path of s may download it. Stores without the ability [Distant] are near.
func IsDistant(s Store) bool {
	d, ok := s.(Distant)
	return ok && d.Distant()
}

// Prefetch starts to download paths if s is a [Prefetcher]. Otherwise it does nothing.
func Prefetch(ctx context.Context, s Store, paths []Path) {
	if p, ok := s.(Prefetcher); ok && len(paths) > 0 && ctx.Err() == nil {
		p.Prefetch(ctx, paths)
	}
}

// PrefetchWhile starts to download paths of a distant store that the caller opens one after the other. The caller calls
// stop when it needs no more of them. A single path is left to Open.
func PrefetchWhile(ctx context.Context, s Store, paths []Path) (stop context.CancelFunc) {
	ctx, stop = context.WithCancel(ctx)
	if IsDistant(s) && len(paths) > 1 {
		Prefetch(ctx, s, paths)
	}
	return stop
}
