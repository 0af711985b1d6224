package layer

import (
	"cmp"
	"container/list"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"

	"nixreg/internal/flight"
	"nixreg/manifest/layer/gunzip"
	"nixreg/store"
)

// Bounds of what is remembered of archives, in bytes. What lies in them is asked for with each tag, and small; the indexes
// are large, and needed by who reads from the middle of one.
const (
	archivesWeight = 16 << 20
	indexesWeight  = 64 << 20
	leastIndex     = 100 << 10 // of three places; a smaller one is not thinned
	maxRecorded    = 4 << 20   // of one archive, in the cache of digests
)

// archiveRecord is what the next process is told of an archive.
type archiveRecord struct {
	Packing Packing           `json:"packing,omitempty"`
	Members map[string]member `json:"members"`
	Kept    []byte            `json:"kept,omitempty"`
}

func archiveKey(key string) string {
	sum := sha256.Sum256([]byte(key))
	return "archive/" + hex.EncodeToString(sum[:])
}

// knownContents are those in memory, or recorded; nil if an archive has to be looked through.
func (m *Maker) knownContents(ctx context.Context, key string, at store.Path, nd store.Node) *contents {
	m.mu.Lock()
	c, ok := m.archives.get(key)
	m.mu.Unlock()
	if ok {
		return c
	}
	if m.Cache == nil {
		return nil
	}
	var r archiveRecord
	if b, err := m.Cache.Get(ctx, archiveKey(key)); err != nil || json.Unmarshal(b, &r) != nil {
		return nil
	}
	c = &contents{at: at, node: nd, packing: r.Packing, members: r.Members, kept: r.Kept}
	for name, member := range r.Members {
		c.names += len(name) + len(member.Link)
	}
	m.keepContents(key, c)
	return c
}

func (m *Maker) keepContents(key string, c *contents) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.archives.put(key, c, c.weight())
	m.archives.fit(archivesWeight)
}

func (m *Maker) recordContents(ctx context.Context, key string, c *contents) error {
	b, err := json.Marshal(archiveRecord{c.packing, c.members, c.kept})
	if err != nil || len(b) > maxRecorded || m.Cache == nil {
		return err
	}
	return m.Cache.Put(ctx, archiveKey(key), b)
}

// keepIndex makes room by thinning the largest indexes, and forgets one only where all are small: with a coarse index a
// range costs somewhat more, without one the whole archive.
func (m *Maker) keepIndex(key string, x *gunzip.Index) {
	m.mu.Lock()
	defer m.mu.Unlock()
	most := cmp.Or(m.indexed, indexesWeight)
	m.indexes.put(key, x, x.Weight())
	for m.indexes.weight > most {
		key, x := m.indexes.heaviest()
		if x.Weight() < leastIndex {
			break
		}
		thin := x.Thinner()
		m.indexes.put(key, thin, thin.Weight())
	}
	m.indexes.fit(most)
}

// index returns the index of a gzipped archive, which it reads through once more if the index is not in memory.
func (m *Maker) index(ctx context.Context, key string, at store.Path, nd store.Node) (*gunzip.Index, error) {
	m.mu.Lock()
	x, ok := m.indexes.get(key)
	m.mu.Unlock()
	if ok {
		return x, nil
	}
	return flight.Once(ctx, m.Group, "index/"+key, func(ctx context.Context) (*gunzip.Index, error) {
		release, err := m.Scanning.Acquire(ctx)
		if err != nil {
			return nil, err
		}
		defer release()
		t, err := m.Store.Open(ctx, at)
		if err != nil {
			return nil, err
		}
		defer t.Close()
		x := new(gunzip.Index)
		raw := &nodeReader{ctx: ctx, tree: t, node: nd}
		limit := m.limit(nd.Size)
		if _, err := io.Copy(io.Discard, &boundedReader{ctx: ctx, r: gunzip.NewReader(raw, x), limit: limit, left: limit}); err != nil {
			return nil, invalid(err)
		}
		m.keepIndex(key, x)
		return x, nil
	})
}

// usedLast keeps the values used last, within a weight. Not safe for concurrent use. The zero value is empty.
type usedLast[V any] struct {
	order  list.List // of *weighed[V], the one used last in front
	byKey  map[string]*list.Element
	weight int64
}

type weighed[V any] struct {
	key    string
	value  V
	weight int64
}

func (u *usedLast[V]) get(key string) (value V, ok bool) {
	e := u.byKey[key]
	if e == nil {
		return value, false
	}
	u.order.MoveToFront(e)
	return e.Value.(*weighed[V]).value, true
}

// put adds a value as the one used last, or puts it in the place of the one that its key had.
func (u *usedLast[V]) put(key string, value V, weight int64) {
	if u.byKey == nil {
		u.byKey = make(map[string]*list.Element)
	}
	if e := u.byKey[key]; e != nil {
		w := e.Value.(*weighed[V])
		u.weight += weight - w.weight
		w.value, w.weight = value, weight
		return
	}
	u.byKey[key] = u.order.PushFront(&weighed[V]{key, value, weight})
	u.weight += weight
}

// fit drops the values used least. The last one is kept in any case: who asked for it is about to read it.
func (u *usedLast[V]) fit(most int64) {
	for u.weight > most && u.order.Len() > 1 {
		u.drop(u.order.Back())
	}
}

// heaviest returns the value of the greatest weight; there must be one.
func (u *usedLast[V]) heaviest() (key string, value V) {
	most := int64(-1)
	for e := u.order.Front(); e != nil; e = e.Next() {
		if w := e.Value.(*weighed[V]); w.weight > most {
			key, value, most = w.key, w.value, w.weight
		}
	}
	return key, value
}

func (u *usedLast[V]) drop(e *list.Element) {
	w := u.order.Remove(e).(*weighed[V])
	delete(u.byKey, w.key)
	u.weight -= w.weight
}
