package store

import "context"

// IsDistant reports whether opening a path of s may fetch it from afar. Stores without the ability [Distant] are near.
func IsDistant(s Store) bool {
	d, ok := s.(Distant)
	return ok && d.Distant()
}

// Prefetch makes ready what Open will be asked for, where s is a [Prefetcher]; elsewhere it does nothing.
func Prefetch(ctx context.Context, s Store, paths []Path) {
	if p, ok := s.(Prefetcher); ok && len(paths) > 0 && ctx.Err() == nil {
		p.Prefetch(ctx, paths)
	}
}

// PrefetchWhile makes ready paths of a distant store that are opened one after the other until something is found in one of
// them; then the caller calls stop. A single path is left to Open.
func PrefetchWhile(ctx context.Context, s Store, paths []Path) (stop context.CancelFunc) {
	ctx, stop = context.WithCancel(ctx)
	if IsDistant(s) && len(paths) > 1 {
		Prefetch(ctx, s, paths)
	}
	return stop
}
