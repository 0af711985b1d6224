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

// holdWait bounds the time that a request by digest waits until the GC roots of its image are made.
const holdWait = 5 * time.Second

const (
	// heldWeight bounds the LRU of holdings, in bytes.
	heldWeight = 4 << 20
	// heldFor is the time for which a check that an image is held is not repeated.
	heldFor = time.Second
)

// holding has the GC roots that hold an image.
type holding struct {
	key   string
	roots []store.Path
	seen  atomic.Int64 // time of the last check that found the image held, in Unix nanoseconds
}

// newHolding makes a holding. held says that the image was found held just now.
func newHolding(key string, roots []store.Path, held bool) *holding {
	h := &holding{key: key, roots: roots}
	if held {
		h.seen.Store(time.Now().UnixNano())
	}
	return h
}

// isFresh reports whether the image was found held in the last heldFor.
func (h *holding) isFresh(now time.Time) bool { return now.UnixNano()-h.seen.Load() < int64(heldFor) }

// weight is the size of the holding in memory, in bytes.
func (h *holding) weight() (n int64) {
	for _, p := range h.roots {
		n += int64(len(p)) + 16
	}
	return n + int64(len(h.key))
}

// holdings keeps images from the garbage collector of Nix.
type holdings struct {
	holder  catalog.Holder // nil: nothing is held
	env     *draft.Env
	records records
	log     *slog.Logger
	held    lru.Cache[v1.Hash, *holding] // by manifest
}

// hold holds the store paths of a definition's image, before they are read.
func (s *holdings) hold(ctx context.Context, d *draft.Definition) error {
	if s.holder == nil {
		return nil
	}
	if err := s.keepHeld(ctx, newHolding(d.Key(), s.roots(ctx, d), false)); err != nil {
		return fmt.Errorf("hold what %.100q is made of: %w", d.Title, err)
	}
	return nil
}

// keepHeld holds an image again, at most once in heldFor, and notes its use.
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

// roots returns the store paths whose closures have everything that an image is made of, sorted. It leaves out files outside of the
// store, and paths that the config mentions but no store has.
func (s *holdings) roots(ctx context.Context, d *draft.Definition) []store.Path {
	return s.holdable(d.Kind.Roots(ctx, s.env))
}

func (s *holdings) holdable(paths []store.Path) []store.Path {
	slices.Sort(paths)
	return slices.DeleteFunc(slices.Compact(paths), func(p store.Path) bool { return p == "" || s.env.Host.Holds(p) })
}

// holdAgain holds the image of a manifest that is served by its digest. A failure is only logged, because the client may have the
// layers already. The wait is at most holdWait: a store path that is gone may have to be fetched, and the fetch continues without
// this caller.
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

// holdingOf returns the holding of an image. The record of an older image may lack its GC roots, if the image was made without a
// Holder. Then all store paths of its layers are the roots.
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
