package layer

import "time"

// bodyFresh is for how long a body is used without another look at the files it describes. A change in that time is
// still seen when the changed file is read, but then a client may have half of the layer.
const bodyFresh = time.Second

// cachedBody is a body as it was made in one epoch of its paths.
type cachedBody struct {
	epoch string
	body  body
	made  time.Time
}

// cached returns a body that was made in this epoch a moment ago, or nil.
func (m *Maker) cached(r Recipe, epoch string) body {
	c, ok := m.bodies.Get(r.plain().ID())
	if !ok || c.epoch != epoch || time.Since(c.made) > bodyFresh {
		return nil
	}
	return c.body
}

func (m *Maker) keep(r Recipe, epoch string, b body) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.bodies.Max = bodiesWeight
	m.bodies.Put(r.plain().ID(), cachedBody{epoch, b, time.Now()}, b.weight())
}

func (m *Maker) forget(r Recipe) { m.bodies.Delete(r.plain().ID()) }
