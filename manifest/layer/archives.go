package layer

import "container/list"

// archivesWeight bounds the memory of what is remembered of archives, in bytes.
const archivesWeight = 64 << 20

// archiveCache keeps the contents of the archives used last, within archivesWeight. Not safe for concurrent use. The zero
// value is empty.
type archiveCache struct {
	order  list.List // of *cachedArchive, the one used last in front
	byKey  map[string]*list.Element
	weight int64
}

type cachedArchive struct {
	key      string
	contents *contents
}

func (a *archiveCache) get(key string) *contents {
	e := a.byKey[key]
	if e == nil {
		return nil
	}
	a.order.MoveToFront(e)
	return e.Value.(*cachedArchive).contents
}

// put keeps the last one in any case: who asked for it is about to read it.
func (a *archiveCache) put(key string, c *contents) {
	if a.byKey == nil {
		a.byKey = make(map[string]*list.Element)
	}
	if e := a.byKey[key]; e != nil {
		a.drop(e)
	}
	a.byKey[key] = a.order.PushFront(&cachedArchive{key, c})
	a.weight += c.weight()
	for a.weight > archivesWeight && a.order.Len() > 1 {
		a.drop(a.order.Back())
	}
}

func (a *archiveCache) drop(e *list.Element) {
	c := a.order.Remove(e).(*cachedArchive)
	delete(a.byKey, c.key)
	a.weight -= c.contents.weight()
}
