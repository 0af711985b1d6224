package binarycache

import (
	"sync"
	"time"

	"github.com/nixreg/nixreg/internal/diskcache"
)

const reportEvery = 5 * time.Second

// progress has the numbers that the log shows while archives are fetched.
type progress struct {
	mu      sync.Mutex // guards the fields below
	running bool       // a goroutine runs reportProgress
	under   map[*diskcache.Fill]bool
	done    int
	bytes   int64 // of the fetches that have ended
	told    bool
}

// begun notes the start of a fetch.
func (s *Spool) begun(f *diskcache.Fill) {
	r := &s.report
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.under == nil {
		r.under = make(map[*diskcache.Fill]bool)
	}
	r.under[f] = true
	if !r.running {
		r.running, r.done, r.bytes, r.told = true, 0, 0, false
		s.running.Go(s.reportProgress)
	}
}

func (s *Spool) ended(f *diskcache.Fill, err error) {
	s.report.mu.Lock()
	defer s.report.mu.Unlock()
	delete(s.report.under, f)
	s.report.bytes += f.Written()
	if err == nil {
		s.report.done++
	}
}

// reportProgress logs a line every reportEvery while fetches run. If all fetches end before the first line, it logs nothing.
func (s *Spool) reportProgress() {
	tick := time.NewTicker(reportEvery)
	defer tick.Stop()
	for going := true; going; {
		select {
		case <-tick.C:
			going = s.logProgress()
		case <-s.ctx.Done():
			return
		}
	}
}

// logProgress logs one line. It returns false when no fetch is under way any more.
func (s *Spool) logProgress() (going bool) {
	_, waiting := s.fetching.State()
	r := &s.report
	r.mu.Lock()
	bytes, message, quiet := r.bytes, "fetching", false
	for f := range r.under {
		bytes += f.Written()
	}
	if r.running = len(r.under) > 0; !r.running {
		message, quiet = "fetched", !r.told
	}
	r.told, going = true, r.running
	args := []any{"done", r.done, "under_way", len(r.under), "waiting", waiting, "mb", bytes / 1e6}
	r.mu.Unlock()
	if !quiet {
		s.log.Info(message, args...)
	}
	return going
}
