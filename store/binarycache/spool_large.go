package binarycache

import "time"

// largeFor is how long an archive that is larger than the spool stays after its last use: one image wants it several times,
// for its digests and for each client.
const largeFor = 10 * time.Minute

// largeFile is the one archive above the limit that stays though nobody needs it now. Guarded by Spool.mu.
type largeFile struct {
	file  *spoolFile // nil: there is none
	timer *time.Timer
}

// take takes e out, if it is that.
func (l *largeFile) take(e *spoolFile) {
	if l.file == e {
		l.timer.Stop()
		*l = largeFile{}
	}
}

// keepLarge is for an archive above the limit that nobody needs any more. There is one of them at a time, and none in a spool
// that keeps nothing.
func (s *Spool) keepLarge(e *spoolFile) {
	if old := s.large.file; old != nil {
		s.discard(old)
	}
	if s.limit == 0 || s.closed {
		s.discard(e)
		return
	}
	s.large = largeFile{e, time.AfterFunc(largeFor, func() { s.endLarge(e) })}
}

// endLarge is called by a timer. One that was too late to be stopped takes an archive that is kept anew: that costs a fetch.
func (s *Spool) endLarge(e *spoolFile) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.large.file == e {
		s.discard(e)
	}
}
