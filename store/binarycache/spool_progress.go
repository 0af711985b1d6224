package binarycache

import "time"

const reportEvery = 5 * time.Second

// progress is what the log tells of a time in which something is fetched. Guarded by Spool.mu.
type progress struct {
	running bool // a goroutine looks at it
	under   int  // archives under way
	done    int
	from    int64 // Spool.fetched at its beginning
	told    bool
}

// begun counts a fetch that begins.
func (s *Spool) begun() {
	s.report.under++
	if !s.report.running {
		s.report = progress{running: true, under: s.report.under, from: s.fetched.Load()}
		s.running.Go(s.reportProgress)
	}
}

func (s *Spool) ended(err error) {
	s.report.under--
	if err == nil {
		s.report.done++
	}
}

// reportProgress logs a line now and then, none if all is done before the first is due.
func (s *Spool) reportProgress() {
	tick := time.NewTicker(reportEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-s.ctx.Done():
			return
		}
		if !s.logProgress() {
			return
		}
	}
}

// logProgress returns false when nothing is under way any more.
func (s *Spool) logProgress() bool {
	s.mu.Lock()
	r := &s.report
	if r.under == 0 {
		r.running = false
	}
	message := "fetching"
	if !r.running {
		message = "fetched"
	}
	quiet := !r.running && !r.told
	r.told = true
	args := []any{"done", r.done, "under_way", r.under, "waiting", len(s.fetching.queue), "mb", (s.fetched.Load() - r.from) / 1e6}
	going := r.running
	s.mu.Unlock()
	if !quiet {
		s.log.Info(message, args...)
	}
	return going
}
