package blobs

import "context"

// queue runs f when there is a slot for it.
func (c *Cache) queue(ctx context.Context, f *flight, slots *room, run func(context.Context, *flight) error) error {
	if err := c.takeSlot(ctx, f, slots); err != nil {
		return err
	}
	defer c.giveSlot(f)
	return f.guard(func() error { return run(ctx, f) })
}

// takeSlot waits for a slot for f.
func (c *Cache) takeSlot(ctx context.Context, f *flight, slots *room) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t := slots.enter(1); t != nil {
		if err := c.stand(ctx, f, t); err != nil {
			slots.leave(t)
			return err
		}
	}
	f.queued, f.slot = false, slots
	if ctx.Err() != nil {
		c.vacate(f)
		return errAbandoned
	}
	return nil
}

func (c *Cache) giveSlot(f *flight) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.vacate(f)
}

// vacate gives the slot of f to the next in line. The lock is held.
func (c *Cache) vacate(f *flight) {
	if f.yielded {
		f.slot.ending--
	}
	f.slot.give(1)
	f.slot = nil
}

// yield ends a fetch that nobody waits for, if another one waits for its slot or its room. One whose bytes are all there
// is about to end by itself. The lock is held.
func (c *Cache) yield(f *flight) {
	if f.from == nil || f.slot == nil || f.refs != 1 || c.flights[flightKey{f.key, f.from}] != f {
		return
	}
	wanted := f.slot.ending < len(f.slot.line) || f.share.of != nil && len(f.share.of.line) > 0
	f.mu.Lock()
	whole := f.verified
	f.mu.Unlock()
	if whole || !wanted {
		return
	}
	c.detach(f)
	f.yielded = true
	f.slot.ending++
	f.cancel()
}
