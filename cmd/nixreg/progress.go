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
	repeatAfter = 5 * time.Second        // elsewhere, so that a log shows that something goes on
)

// progress shows how far a download is: in one line of a terminal, or a new line now and then. Safe for concurrent use.
type progress struct {
	w        io.Writer
	terminal bool
	now      func() time.Time

	mu    sync.Mutex // guards what follows, and the line on the terminal
	begun time.Time
	last  time.Time // when it was shown
	drawn bool      // the terminal's last line is the bar
}

// newProgress shows progress on w, as a bar if that is a terminal.
func newProgress(w io.Writer) *progress {
	return &progress{w: w, terminal: outfile.IsTerminal(w), now: time.Now}
}

// report is for [pull.Puller].
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

// line is what is shown: how much of how much, and how fast on the whole.
func (p *progress) line(done, total int64, now time.Time) string {
	const width = 30
	part := min(1, float64(done)/float64(max(total, 1))) // what an image says of its size may be anything
	bar := strings.Repeat("#", int(part*width))
	rate := float64(done) / now.Sub(p.begun).Seconds() // never 0: it is not shown when it begins
	return fmt.Sprintf("[%-*s] %3.0f%%  %s of %s  %s/s", width, bar, part*100, humanSize(done), humanSize(total), humanSize(int64(rate)))
}

// Write writes what is no progress, such as a line of the log, in the place of the bar.
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

// humanSize is bytes in decimal units, as Docker shows them.
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
