package layer

import (
	"container/list"
	"time"
)

// bodyFresh is for how long a body is used without another look at the files it describes. A change in that time is
// still seen when the changed file is read, but then a client may have half of the layer.
const bodyFresh = time.Second

// bodyCache keeps the bodies used last, within bodiesWeight. Not safe for concurrent use. The zero value is empty.
type bodyCache struct {
	order  list.List // of *cachedBody, the one used last in front
	byID   map[string]*list.Element
	weight int64
}

type cachedBody struct {
	id    string
	epoch string
	body  body
	made  time.Time
}

func (c *bodyCache) get(id, epoch string) body {
	e := c.byID[id]
	if e == nil {
		return nil
	}
	b := e.Value.(*cachedBody)
	if b.epoch != epoch || time.Since(b.made) > bodyFresh {
		return nil
	}
	c.order.MoveToFront(e)
	return b.body
}

func (c *bodyCache) put(id, epoch string, b body) {
	c.drop(id)
	if b.weight() > bodiesWeight {
		return
	}
	if c.byID == nil {
		c.byID = make(map[string]*list.Element)
	}
	c.byID[id] = c.order.PushFront(&cachedBody{id, epoch, b, time.Now()})
	c.weight += b.weight()
	for c.weight > bodiesWeight {
		c.drop(c.order.Back().Value.(*cachedBody).id)
	}
}

func (c *bodyCache) drop(id string) {
	e := c.byID[id]
	if e == nil {
		return
	}
	c.weight -= e.Value.(*cachedBody).body.weight()
	c.order.Remove(e)
	delete(c.byID, id)
}
