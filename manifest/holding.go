package manifest

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/nixreg/nixreg/internal/lru"
	"github.com/nixreg/nixreg/manifest/catalog"
	"github.com/nixreg/nixreg/manifest/document"
	"github.com/nixreg/nixreg/manifest/draft"
	"github.com/nixreg/nixreg/store"
)

// holdWait is how long an answer by digest waits for what it holds.
const holdWait = 5 * time.Second

const (
	// heldWeight bounds what is remembered of what holds manifests, in bytes.
	heldWeight = 4 << 20
	// heldFor is for how long what was seen to be held is not looked at again.
	heldFor = time.Second
)

// holding is what holds an image.
type holding struct {
	key   string
	roots []store.Path
	seen  atomic.Int64 // when it was last seen to be held, in Unix nanoseconds
}

// newHolding says by held whether it was just seen to be held.
func newHolding(key string, roots []store.Path, held bool) *holding {
	h := &holding{key: key, roots: roots}
	if held {
		h.seen.Store(time.Now().UnixNano())
	}
	return h
}

// isFresh reports whether it was seen to be held a moment ago.
func (h *holding) isFresh(now time.Time) bool { return now.UnixNano()-h.seen.Load() < int64(heldFor) }

// weight is its size in memory, in bytes.
func (h *holding) weight() (n int64) {
	for _, p := range h.roots {
		n += int64(len(p)) + 16
	}
	return n + int64(len(h.key))
}

// holdings holds images against the garbage collector.
type holdings struct {
	holder  catalog.Holder // nil: nothing is held
	env     *draft.Env
	records records
	log     *slog.Logger
	held    lru.Cache[v1.Hash, *holding] // by manifest
}

// hold holds what a definition's image is made of, before it is read.
func (s *holdings) hold(ctx context.Context, d *draft.Definition) error {
	if s.holder == nil {
		return nil
	}
	if err := s.keepHeld(ctx, newHolding(d.Key(), s.roots(ctx, d), false)); err != nil {
		return fmt.Errorf("hold what %.100q is made of: %w", d.Title, err)
	}
	return nil
}

// keepHeld sees now and then that an image is held, and holds it if it is not.
func (s *holdings) keepHeld(ctx context.Context, h *holding) error {
	if len(h.roots) == 0 {
		return nil
	}
	if now := time.Now(); !h.isFresh(now) {
		if err := s.holder.Hold(ctx, h.key, h.roots); err != nil {
			return fmt.Errorf("hold against the garbage collector: %w", err)
		}
		h.seen.Store(now.UnixNano())
	}
	s.holder.Touch(h.key)
	return nil
}

// roots are the store paths whose closures have all that an image is made of, sorted: not files outside of the store, nor
// what its config mentions and no store has.
func (s *holdings) roots(ctx context.Context, d *draft.Definition) []store.Path {
	return s.holdable(d.Kind.Roots(ctx, s.env))
}

func (s *holdings) holdable(paths []store.Path) []store.Path {
	slices.Sort(paths)
	return slices.DeleteFunc(slices.Compact(paths), func(p store.Path) bool { return p == "" || s.env.Host.Holds(p) })
}

// holdAgain holds the image of a manifest that is served by its digest. That it cannot be is no error: the client may have
// the layers already. Nor is it waited for long: what has gone may have to be fetched, which goes on without us.
func (s *holdings) holdAgain(ctx context.Context, digest v1.Hash, image string) {
	if s.holder == nil || image == "" {
		return
	}
	h, ok := s.held.Get(digest)
	if !ok {
		m, err := s.records.image(ctx, image)
		if err != nil {
			s.log.Debug("image of a manifest is not held", "manifest", digest.String(), "error", err)
			return
		}
		h = s.holdingOf(m)
		s.held.Put(digest, h, h.weight())
	}
	if !h.isFresh(time.Now()) {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, holdWait)
		defer cancel()
	}
	if err := s.keepHeld(ctx, h); err != nil {
		s.log.Debug("image of a manifest is not held", "manifest", digest.String(), "error", err)
		s.holder.Touch(h.key)
	}
}

// holdingOf tells what holds an image. One that was made when nothing was held is held by all that is in its layers.
func (s *holdings) holdingOf(m *document.Image) *holding {
	if m.Definition != "" {
		return newHolding(m.Definition, m.Roots, false)
	}
	var paths []store.Path
	for _, l := range m.Layers {
		for _, ref := range slices.Concat(l.Recipe.Objects, l.Recipe.Via) {
			paths = append(paths, ref.Path)
		}
	}
	return newHolding(m.Key, s.holdable(paths), false)
}
