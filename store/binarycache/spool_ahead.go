package binarycache

import (
	"context"
	"iter"

	"github.com/nixreg/nixreg/store/nar"
)

const (
	maxPlans = 16  // prefetches at once
	maxAhead = 256 // archives fetched ahead
)

// aheadWindow bounds what was fetched, or is being fetched, before somebody asked for it. Guarded by Spool.mu.
type aheadWindow struct {
	plans int
	bytes int64
	files int
	moved chan struct{} // closed and made anew when there may be room
}

// aheadPlan is one prefetch.
type aheadPlan struct {
	ctx     context.Context     // whose work waits for what is begun
	files   map[*spoolFile]bool // fetched, but not yet used; they are kept till then
	pending int                 // those and the flights under way
	over    bool                // the cache cannot be asked: others would fail likewise
}

// prefetch begins to fetch what next yields, in that order, and returns at once. It works ahead of those who acquire by at
// most half the size of the spool, and by 256 archives; larger ones, and those that lie in the spool, are passed over. It
// begins nothing while an acquire waits for a slot, and leaves room for one. What it fetched is kept until it is used or
// ctx ends. It ends with ctx, with an archive that gives store.ErrUnavailable, or with Close, which waits for a pending step of next. Of more than 16 at the same time the
// last ones do nothing: their archives are fetched when they are asked for.
func (s *Spool) prefetch(ctx context.Context, next iter.Seq[wanted]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.ahead.plans == maxPlans {
		return
	}
	s.ahead.plans++
	s.running.Go(func() { s.workAhead(ctx, next) })
}

func (s *Spool) workAhead(ctx context.Context, next iter.Seq[wanted]) {
	p := &aheadPlan{ctx: ctx, files: make(map[*spoolFile]bool)}
	defer s.abandon(p)
	for w := range next {
		if !s.await(ctx, p, func() bool { return s.beginAhead(p, w) }) {
			return
		}
	}
	s.await(ctx, p, func() bool { return p.pending == 0 })
}

// await calls ready, with Spool.mu held, until it is true; it returns false if p, ctx or the spool ends before.
func (s *Spool) await(ctx context.Context, p *aheadPlan, ready func() bool) bool {
	for {
		s.mu.Lock()
		if s.closed || p.over || ctx.Err() != nil {
			s.mu.Unlock()
			return false
		}
		ok := ready()
		moved := s.ahead.moved
		s.mu.Unlock()
		if ok {
			return true
		}
		select {
		case <-moved:
		case <-ctx.Done():
		case <-s.ctx.Done():
		}
	}
}

// beginAhead deals with w, or returns false if there is no room for it now.
func (s *Spool) beginAhead(p *aheadPlan, w wanted) bool {
	key := keyOf(w.id)
	if e := s.files[key]; e != nil {
		if e.at != nil {
			s.lru.MoveToFront(e.at)
		}
		return true
	}
	if s.flights[key] != nil || w.size > s.limit/2 {
		return true
	}
	room := s.ahead.bytes+w.size <= s.limit/2 && s.ahead.files < maxAhead
	if !room || s.fetching.free < 2 || s.fetching.memory < w.window+nar.MaxWindow { // so that while somebody queues nothing begins
		return false
	}
	f := s.newFlight(key, w)
	f.ahead = p
	f.job.Enter(p.ctx)
	p.pending++
	s.ahead.bytes += w.size
	s.ahead.files++
	s.begin(f)
	return true
}

// keepAhead is for an archive that nobody has asked for yet.
func (s *Spool) keepAhead(f *narFlight, a *archive) {
	s.use(a, 1)
	a.file.ahead = f.ahead
	f.ahead.files[a.file] = true
	s.pin(a.file)
	s.drop(a)
}

// usedAhead is called when a file is used, or is no more.
func (s *Spool) usedAhead(e *spoolFile) {
	if p := e.ahead; p != nil {
		s.wasUsed(&e.ahead, e.size)
		delete(p.files, e)
		s.unpin(e)
	}
}

// wasUsed takes n bytes out of the window.
func (s *Spool) wasUsed(by **aheadPlan, n int64) {
	if *by == nil {
		return
	}
	(*by).pending--
	*by = nil
	s.ahead.bytes -= n
	s.ahead.files--
	s.wake()
}

// abandon ends a plan. What it began is brought to its end.
func (s *Spool) abandon(p *aheadPlan) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ahead.plans--
	for e := range p.files {
		s.usedAhead(e)
	}
	for _, f := range s.flights {
		if f.ahead == p {
			s.wasUsed(&f.ahead, f.want.size)
			f.job.Leave(p.ctx)
		}
	}
}

// wake lets the plans look again.
func (s *Spool) wake() {
	close(s.ahead.moved)
	s.ahead.moved = make(chan struct{})
}
