package binarycache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"syscall"
	"time"

	"github.com/nixreg/nixreg/internal/filestamp"
	"github.com/nixreg/nixreg/internal/flight"
	"github.com/nixreg/nixreg/store"
)

const (
	maxFetching = 16        // archives fetched at once
	maxWindows  = 512 << 20 // bytes of their decompressors' windows
	maxReading  = 4         // archives read from the spool at once
	maxQueued   = 1024
)

// narFlight is an archive in the making. Guarded by Spool.mu, but for what is set once.
type narFlight struct {
	key     narKey
	want    wanted
	done    chan struct{} // closed after archive and err are set
	job     *flight.Job   // knows whether somebody waits
	waiting int           // callers
	ahead   *aheadPlan    // that began it; nil once somebody waits
	file    *spoolFile    // that is opened; nil if the archive is fetched
	ending  bool          // it was told to give up its slot
	archive *archive
	err     error
}

func (s *Spool) newFlight(key narKey, w wanted) *narFlight {
	return &narFlight{key: key, want: w, done: make(chan struct{}), job: flight.NewJob(s.ctx, s.interestChanged)}
}

func (f *narFlight) awaited() bool { return f.job.Awaited() }

// flightSlots lets flights begin in the order in which they came, but those that somebody waits for first.
type flightSlots struct {
	free    int   // flights that may begin
	memory  int64 // bytes that they may take
	queue   []*narFlight
	running []*narFlight
}

// next returns the flight that may begin, nil if there is none.
func (q *flightSlots) next() *narFlight {
	if len(q.queue) == 0 || q.free == 0 {
		return nil
	}
	i := max(0, slices.IndexFunc(q.queue, (*narFlight).awaited))
	f := q.queue[i]
	if f.memory() > q.memory {
		return nil
	}
	q.queue = slices.Delete(q.queue, i, i+1)
	q.running = append(q.running, f)
	q.free--
	q.memory -= f.memory()
	return f
}

// done is for a flight that has ended.
func (q *flightSlots) done(f *narFlight) {
	q.running = slices.DeleteFunc(q.running, func(other *narFlight) bool { return other == f })
	q.free++
	q.memory += f.memory()
}

// giveWay ends as many flights that nobody waits for as those in line need that somebody waits for.
func (q *flightSlots) giveWay() {
	free, memory := q.free, q.memory
	var idle []*narFlight
	for _, f := range q.running {
		switch {
		case f.ending:
			free++
			memory += f.memory()
		case len(q.queue) > 0 && !f.awaited():
			idle = append(idle, f)
		}
	}
	for _, f := range q.queue {
		if !f.awaited() {
			continue
		}
		for ; free < 1 || memory < f.memory(); idle = idle[1:] {
			if len(idle) == 0 {
				return
			}
			idle[0].ending = true
			idle[0].job.Yield()
			free++
			memory += idle[0].memory()
		}
		free--
		memory -= f.memory()
	}
}

// memory is what f takes of decompressors: nothing if the archive lies in the spool.
func (f *narFlight) memory() int64 {
	if f.file != nil {
		return 0
	}
	return f.want.window
}

// begin puts f where its archive lies: in the spool or elsewhere.
func (s *Spool) begin(f *narFlight) {
	s.flights[f.key] = f
	if e := s.files[f.key]; e != nil {
		s.pin(e)
		f.file = e
		s.reading.queue = append(s.reading.queue, f)
	} else {
		s.fetching.queue = append(s.fetching.queue, f)
	}
	s.dispatch()
}

// dispatch begins what can begin.
func (s *Spool) dispatch() {
	if s.closed {
		s.failQueued()
		return
	}
	for f := s.reading.next(); f != nil; f = s.reading.next() {
		verified := f.file.state
		s.running.Go(func() { s.flyFromDisk(f, verified) })
	}
	for f := s.fetching.next(); f != nil; f = s.fetching.next() {
		s.size += s.counted(f.want.size)
		s.evict()
		s.begun()
		s.running.Go(func() { s.fly(f) })
	}
	s.fetching.giveWay()
	s.wake()
}

// interestChanged has it looked into who waits for what. It does not block.
func (s *Spool) interestChanged() {
	select {
	case s.interest <- struct{}{}:
	default: // that is to be done already
	}
}

// watchInterest lets flights begin, and give way, as those who wait for them come and go.
func (s *Spool) watchInterest() {
	for {
		select {
		case <-s.interest:
			s.mu.Lock()
			if !s.closed {
				s.dispatch()
			}
			s.mu.Unlock()
		case <-s.ctx.Done():
			return
		}
	}
}

// leave is for a caller that no longer waits.
func (s *Spool) leave(ctx context.Context, f *narFlight) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-f.done: // it has its share in the archive already
		if f.archive != nil {
			s.drop(f.archive)
		}
		return
	default:
	}
	f.waiting--
	f.job.Leave(ctx)
	i := slices.Index(s.fetching.queue, f)
	if f.waiting == 0 && i >= 0 && len(s.fetching.queue) > maxQueued {
		s.fetching.queue = slices.Delete(s.fetching.queue, i, i+1)
		s.finish(f, nil, errClosed) // nobody sees it
	}
}

// fly fetches.
func (s *Spool) fly(f *narFlight) {
	a, err := s.create(f)
	err = f.job.Err(err)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fetching.done(f)
	s.size -= s.counted(f.want.size)
	s.ended(err)
	if err == nil {
		s.add(a.file)
		s.pin(a.file)
	}
	s.finish(f, a, err)
	if err == nil {
		s.unpin(a.file)
	}
	s.dispatch()
}

// flyFromDisk opens a file of the spool, or else lets f fetch the archive.
func (s *Spool) flyFromDisk(f *narFlight, verified filestamp.Stamp) {
	a, err := s.reopen(f, verified)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := f.file
	s.reading.done(f)
	f.file = nil
	var bad malformedError
	switch {
	case err == nil:
		if e.state != a.state {
			e.state, e.saved = a.state, a.state.Mtime
		}
		s.finish(f, a, nil)
	case errors.As(err, &bad):
		s.spoiled(e, "it is malformed")
		s.finish(f, nil, err)
	case s.ctx.Err() != nil || exhausted(err):
		s.finish(f, nil, fmt.Errorf("spool: %w", err))
	case errors.Is(err, fs.ErrNotExist):
		s.discard(e)
		s.begin(f)
	default:
		s.spoiled(e, err.Error())
		s.begin(f)
	}
	s.unpin(e)
	s.dispatch()
}

// exhausted reports whether err says nothing of the file.
func exhausted(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ENOMEM)
}

// finish hands the outcome of f to all who wait for it.
func (s *Spool) finish(f *narFlight, a *archive, err error) {
	if err != nil && s.closed {
		err = errClosed // the callers' own contexts have not ended
	}
	if bad := (malformedError{}); errors.As(err, &bad) {
		s.refused.add(f.key, bad, time.Now())
	}
	delete(s.flights, f.key)
	f.archive, f.err = a, err
	close(f.done)
	f.job.Done()
	if err != nil {
		if f.ahead != nil && errors.Is(err, store.ErrUnavailable) {
			f.ahead.over = true
		}
		s.wasUsed(&f.ahead, f.want.size)
		return
	}
	a.file.open = a
	if f.waiting == 0 && f.ahead != nil {
		s.keepAhead(f, a)
	} else {
		s.use(a, f.waiting+1)
		s.drop(a)
	}
}

// failQueued ends the flights that have not begun.
func (s *Spool) failQueued() {
	for _, q := range []*flightSlots{&s.fetching, &s.reading} {
		queue := q.queue
		q.queue = nil
		for _, f := range queue {
			if e := f.file; e != nil {
				f.file = nil
				s.unpin(e)
			}
			s.finish(f, nil, errClosed)
		}
	}
}
