package binarycache

import "time"

const (
	maxOpen       = 256      // idle archives that are kept open
	maxOpenMemory = 64 << 20 // bytes of their indexes
)

// use adds users to an archive.
func (s *Spool) use(a *archive, users int) {
	if a.uses == 0 {
		s.pin(a.file)
	}
	if a.idle != nil {
		s.idle.Remove(a.idle)
		a.idle = nil
		s.idleMemory -= a.memory
	}
	a.uses += users
	a.file.used = time.Now().UnixNano()
	s.usedAhead(a.file)
}

// release gives back what acquire gave.
func (s *Spool) release(a *archive) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(a)
}

// drop ends one use of a; after the last one it is kept open while there is room.
func (s *Spool) drop(a *archive) {
	if a.uses--; a.uses > 0 {
		return
	}
	if s.closed || a.file.open != a {
		s.shut(a)
	} else {
		a.idle = s.idle.PushFront(a)
		s.idleMemory += a.memory
	}
	s.unpin(a.file)
	for s.idle.Len() > maxOpen || s.idleMemory > maxOpenMemory {
		s.shut(s.idle.Back().Value.(*archive))
	}
}

// shut closes an archive that nobody uses. Its file stays.
func (s *Spool) shut(a *archive) {
	if a.idle != nil {
		s.idle.Remove(a.idle)
		a.idle = nil
		s.idleMemory -= a.memory
	}
	if a.file.open == a {
		a.file.open = nil
	}
	a.fd.Close() // nothing was written
}
