package binarycache

import (
	"context"
	"errors"
	"iter"
	"sync"

	"github.com/nixreg/nixreg/internal/diskcache"
	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/nar"
)

const (
	maxPlans = 16  // prefetches at once
	maxAhead = 256 // archives fetched ahead
)

// window bounds the archives that are fetched, or were fetched, before a caller asked for them.
type window struct {
	mu    sync.Mutex // guards what follows
	plans int
	bytes int64
	items map[string]*aheadItem
	moved chan struct{} // closed and made anew when there may be space
}

// aheadItem is one such archive.
type aheadItem struct {
	plan *aheadPlan
	size int64
	file *diskcache.File // pins it once it is fetched; nil before
}

// aheadPlan is one prefetch.
type aheadPlan struct {
	ctx         context.Context // of the work that the fetches are for
	pending     int             // items
	unavailable bool            // the cache cannot be asked: other fetches would fail likewise
}

// prefetch begins to fetch what next yields, in that order, and returns at once. It works ahead of those who acquire by at most
// half the size of the spool, and by 256 archives; larger ones, and those in the spool, are passed over. It begins nothing while an
// acquire waits for a slot, and leaves a slot free for one. An archive that it fetched is kept until it is used or ctx ends.
// The prefetch ends with ctx, with an archive that gives store.ErrUnavailable, or with Close, which waits for a pending step of
// next. Of more than 16 at the same time the last ones do nothing: their archives are fetched when they are asked for.
func (s *Spool) prefetch(ctx context.Context, next iter.Seq[wanted]) {
	s.ahead.mu.Lock()
	defer s.ahead.mu.Unlock()
	if s.ctx.Err() != nil || s.ahead.plans == maxPlans {
		return
	}
	s.ahead.plans++
	s.running.Go(func() { s.workAhead(ctx, next) })
}

func (s *Spool) workAhead(ctx context.Context, next iter.Seq[wanted]) {
	ctx, stop := context.WithCancel(ctx)
	defer context.AfterFunc(s.ctx, stop)()
	p := &aheadPlan{ctx: ctx}
	defer s.abandon(p, stop)
	for w := range next {
		key, begun := narName(w.id), false
		decided := s.await(p, func() bool {
			// A caller may have asked for the archive while the plan waited: nobody would take it out of the window again.
			if _, filling := s.files.Filling(key, nil); filling || s.files.Touch(key) || w.size > s.files.Max/2 {
				return true
			}
			begun = s.beginAhead(p, key, w)
			return begun
		})
		if !decided {
			return
		}
		if !begun {
			continue
		}
		if f, err := s.files.Get(ctx, key, nil, s.fill(w)); err != nil {
			s.endAhead(p, key, nil, err)
		} else {
			s.running.Go(func() { s.endAhead(p, key, f, f.Wait(ctx)) })
		}
	}
	s.await(p, func() bool { return p.pending == 0 })
}

// await calls ready, with the window locked, until it is true; it returns false if p ends before.
func (s *Spool) await(p *aheadPlan, ready func() bool) bool {
	for {
		s.ahead.mu.Lock()
		if p.unavailable || p.ctx.Err() != nil {
			s.ahead.mu.Unlock()
			return false
		}
		ok, moved := ready(), s.ahead.moved
		s.ahead.mu.Unlock()
		if ok {
			return true
		}
		select {
		case <-moved:
		case <-p.ctx.Done():
		}
	}
}

// beginAhead takes w into the window, or returns false if there is no space for it now.
func (s *Spool) beginAhead(p *aheadPlan, key string, w wanted) bool {
	free, waiting := s.fetching.State()
	memory, more := s.windows.State()
	full := s.ahead.bytes+w.size > s.files.Max/2 || len(s.ahead.items) == maxAhead
	if full || waiting+more > 0 || free < 2 || int64(memory) < w.window+nar.MaxWindow {
		return false
	}
	if s.ahead.items[key] == nil {
		s.ahead.items[key] = &aheadItem{plan: p, size: w.size}
		s.ahead.bytes += w.size
		p.pending++
	}
	return true
}

// endAhead pins an archive that was fetched, unless a caller has asked for it meanwhile.
func (s *Spool) endAhead(p *aheadPlan, key string, f *diskcache.File, err error) {
	s.ahead.mu.Lock()
	item := s.ahead.items[key]
	mine := item != nil && item.plan == p && item.file == nil
	switch {
	case mine && err == nil:
		item.file = f
	case mine:
		s.removeAhead(key, item)
	}
	p.unavailable = p.unavailable || errors.Is(err, store.ErrUnavailable)
	s.ahead.mu.Unlock()
	if f != nil && (!mine || err != nil) {
		f.Close()
	}
	s.wake()
}

// usedAhead takes an archive out of the window: a caller has asked for it.
func (s *Spool) usedAhead(key string) {
	s.ahead.mu.Lock()
	item := s.ahead.items[key]
	if item != nil {
		s.removeAhead(key, item)
	}
	s.ahead.mu.Unlock()
	if item != nil {
		s.wake()
	}
}

func (s *Spool) removeAhead(key string, item *aheadItem) {
	delete(s.ahead.items, key)
	s.ahead.bytes -= item.size
	item.plan.pending--
	if item.file != nil {
		item.file.Close()
	}
}

// abandon ends a plan. A fetch that it began goes on if it has another waiter.
func (s *Spool) abandon(p *aheadPlan, stop func()) {
	stop()
	s.ahead.mu.Lock()
	s.ahead.plans--
	for key, item := range s.ahead.items {
		if item.plan == p {
			s.removeAhead(key, item)
		}
	}
	s.ahead.mu.Unlock()
	s.wake()
}

// wake lets the plans look again.
func (s *Spool) wake() {
	s.ahead.mu.Lock()
	defer s.ahead.mu.Unlock()
	close(s.ahead.moved)
	s.ahead.moved = make(chan struct{})
}
