package export

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"sync"
	"sync/atomic"
)

// meter adds up what is written.
type meter struct {
	mu          sync.Mutex // guards what follows, and lets report run once at a time
	report      Progress   // nil: nobody is told
	done, total int64
}

func newMeter(report Progress, total int64) *meter { return &meter{report: report, total: total} }

func (m *meter) add(n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.done += n
	if m.report != nil {
		m.report(m.done, m.total)
	}
}

// expect adds to what there is to be written.
func (m *meter) expect(n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.total += n
}

// stop ends the reports.
func (m *meter) stop() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.report = nil
}

// meteredReader counts what is read.
type meteredReader struct {
	io.ReadCloser
	meter *meter
	n     atomic.Int64
}

func (r *meteredReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	r.n.Add(int64(n))
	r.meter.add(int64(n))
	return n, err
}

// counted passes on so many bytes, and no more, until ctx ends.
type counted struct {
	ctx   context.Context // of the one call that writes
	w     io.Writer
	left  int64
	meter *meter
}

func (c *counted) Write(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	if int64(len(p)) > c.left {
		return 0, fmt.Errorf("more bytes than there should be: %w", fs.ErrInvalid)
	}
	n, err := c.w.Write(p)
	c.left -= int64(n)
	c.meter.add(int64(n))
	return n, err
}
