package export

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"sync"
	"sync/atomic"
)

// meter counts written bytes and reports them.
type meter struct {
	mu          sync.Mutex // guards the fields below, and keeps calls of report apart
	report      Progress   // may be nil
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

// expect adds to the bytes to write.
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

// meteredReader counts the bytes that are read.
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

// counted writes at most left bytes to w. It fails when ctx has ended.
type counted struct {
	ctx   context.Context // of the call that writes
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
