package blobs

import (
	"context"
	"slices"
)

const (
	// smallSize is up to where a blob is small. What is small does not wait behind what is large: a manifest of some
	// hundred bytes is no reason to wait for layers.
	smallSize = 4 << 20
	// unkeptRoom is how much may pass through at once where nothing is kept.
	unkeptRoom = 1 << 30
)

// room is a number of bytes on the disk that flights share, or of slots. Who wants more than is free waits in a line. The
// Cache's lock guards it.
type room struct {
	limit  int64
	free   int64
	line   []*turn
	ending int // flights that give their slot back for others
}

// turn is a place in a line.
type turn struct {
	n   int64
	got chan struct{} // closed with the lock held
}

// share is what a flight has of a room; zero if it has nothing.
type share struct {
	of *room
	n  int64
}

func newRoom(limit int64) *room { return &room{limit: limit, free: limit} }

// take takes n bytes if they are free, whoever waits.
func (r *room) take(n int64) bool {
	if n > r.free {
		return false
	}
	r.free -= n
	return true
}

// enter takes n bytes, or gives a place in the line.
func (r *room) enter(n int64) *turn {
	if (len(r.line) == 0 || n <= smallSize) && r.take(n) {
		return nil
	}
	t := &turn{n: n, got: make(chan struct{})}
	r.line = append(r.line, t)
	return t
}

// give gives n bytes back.
func (r *room) give(n int64) {
	r.free += n
	for len(r.line) > 0 && r.take(r.line[0].n) {
		close(r.line[0].got)
		r.line = slices.Delete(r.line, 0, 1)
	}
}

// leave is for one who wants what he waits for no more, nor what he got.
func (r *room) leave(t *turn) {
	n := t.n
	if i := slices.Index(r.line, t); i >= 0 {
		r.line = slices.Delete(r.line, i, i+1)
		n = 0
	}
	r.give(n) // to the next in line, who may want less
}

// claim gives f n bytes of a room in place of what it has, once they are free. While f waits, it is queued as it is for
// a slot.
func (c *Cache) claim(ctx context.Context, f *flight, r *room, n int64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t := r.enter(n); t != nil {
		if err := c.stand(ctx, f, t); err != nil {
			r.leave(t)
			return err
		}
	}
	c.setFree(f)
	f.share = share{r, n}
	return nil
}

// stand waits for a turn. Fetches that nobody waits for have to end for it. The lock is held, but not meanwhile.
func (c *Cache) stand(ctx context.Context, f *flight, t *turn) error {
	if f.refs == 1 { // all have left since f began
		c.detach(f)
		return errAbandoned
	}
	f.queued = true
	for _, other := range c.flights {
		c.yield(other)
	}
	c.mu.Unlock()
	select {
	case <-t.got:
	case <-ctx.Done():
	}
	c.mu.Lock()
	f.queued = false
	if ctx.Err() != nil {
		return errAbandoned
	}
	return nil
}

// setFree gives back what f has set aside. The lock is held.
func (c *Cache) setFree(f *flight) {
	if f.share.of != nil {
		f.share.of.give(f.share.n)
	}
	c.index.growing -= f.arrived
	f.share, f.arrived = share{}, 0
}
