package main

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/nixreg/nixreg/internal/outfile"
)

const (
	redrawAfter = 100 * time.Millisecond // on a terminal
	repeatAfter = 5 * time.Second        // not on a terminal
)

// progress shows the progress of a download: as a bar on a terminal, elsewhere as a line every few seconds. Safe for concurrent
// use.
type progress struct {
	w        io.Writer
	terminal bool
	now      func() time.Time

	mu    sync.Mutex // guards the fields below, and the terminal
	begun time.Time
	last  time.Time // when progress was shown
	drawn bool      // the terminal's last line is the bar
}

// newProgress shows progress on w, as a bar if that is a terminal.
func newProgress(w io.Writer) *progress {
	return &progress{w: w, terminal: outfile.IsTerminal(w), now: time.Now}
}

// report is the Progress function of exports, pulls and verifications.
func (p *progress) report(done, total int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	if p.begun.IsZero() {
		p.begun, p.last = now, now
	}
	switch since := now.Sub(p.last); {
	case p.terminal && since >= redrawAfter:
		p.erase()
		fmt.Fprint(p.w, p.line(done, total, now))
		p.drawn = true
	case !p.terminal && since >= repeatAfter:
		fmt.Fprintln(p.w, "nixreg:", p.line(done, total, now))
	default:
		return
	}
	p.last = now
}

// line is the text of the progress: bytes, total and average speed.
func (p *progress) line(done, total int64, now time.Time) string {
	const width = 30
	part := min(1, float64(done)/float64(max(total, 1))) // the size that an image declares may be wrong
	bar := strings.Repeat("#", int(part*width))
	rate := float64(done) / now.Sub(p.begun).Seconds() // not 0: report shows nothing at first
	return fmt.Sprintf("[%-*s] %3.0f%%  %s of %s  %s/s", width, bar, part*100, humanSize(done), humanSize(total), humanSize(int64(rate)))
}

// Write writes other text, such as a line of the log, in place of the bar.
func (p *progress) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.erase()
	return p.w.Write(b)
}

// clear removes the bar.
func (p *progress) clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.erase()
}

func (p *progress) erase() {
	if p.drawn {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.drawn = false
	}
}

// humanSize formats a number of bytes in decimal units, as Docker does.
func humanSize(n int64) string {
	const units = "kMGTPE"
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	size, unit := float64(n)/1000, 0
	for size >= 999.95 && unit < len(units)-1 {
		size, unit = size/1000, unit+1
	}
	return fmt.Sprintf("%.1f %cB", size, units[unit])
}
