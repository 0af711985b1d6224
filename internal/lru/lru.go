// Package lru is an LRU cache with a bound in bytes and, if callers set one, a TTL.
//
// It owns the order of use and the bounds. It does not know the size of a value: callers pass it.
//
//	var answers = lru.Cache[string, []byte]{Max: 32 << 20}
//	answers.Put(name, answer, int64(len(answer)))
package lru

import (
	"container/list"
	"sync"
	"time"
)

// Overhead is about the memory of one entry in the map and the list, without key and value, in bytes.
const Overhead = 200

// Cache is a map that evicts the entries used least recently when their weights exceed Max. Safe for concurrent use; it
// must not be copied. Set Max before the first use.
type Cache[K comparable, V any] struct {
	// Max is the greatest weight of all entries together, in bytes. The zero value keeps nothing.
	Max int64
	// KeepLast keeps the value stored last even if it is heavier than Max by itself.
	KeepLast bool
	// TTL is the time for which a value is kept after its Put; 0 is for ever.
	TTL time.Duration
	// Now is the clock of TTL; nil is [time.Now].
	Now func() time.Time

	mu      sync.Mutex
	entries map[K]*list.Element // of *entry[K, V]
	recent  list.List           // the entry used last in front
	weight  int64
}

type entry[K comparable, V any] struct {
	key    K
	value  V
	weight int64
	until  time.Time // zero: for ever
}

// Get returns the value under key. It counts as a use of the entry.
func (c *Cache[K, V]) Get(key K) (value V, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	at, ok := c.entries[key]
	if !ok {
		return value, false
	}
	e := at.Value.(*entry[K, V])
	if !e.until.IsZero() && !c.now().Before(e.until) {
		c.remove(key)
		return value, false
	}
	c.recent.MoveToFront(at)
	return e.value, true
}

// Put stores value under key for TTL, and replaces an older value. weight is the size of value in bytes, without [Overhead]. A
// value that is heavier than Max by itself is not kept, unless KeepLast is set.
func (c *Cache[K, V]) Put(key K, value V, weight int64) { c.PutFor(key, value, weight, c.TTL) }

// PutFor is Put with a TTL of its own; 0 is for ever.
func (c *Cache[K, V]) PutFor(key K, value V, weight int64, ttl time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.remove(key)
	if weight += Overhead; weight > c.Max && !c.KeepLast {
		return
	}
	if c.entries == nil {
		c.entries = make(map[K]*list.Element)
	}
	e := &entry[K, V]{key: key, value: value, weight: weight}
	if ttl > 0 {
		e.until = c.now().Add(ttl)
	}
	c.entries[key] = c.recent.PushFront(e)
	for c.weight += weight; c.weight > c.Max && c.recent.Len() > 1; {
		c.remove(c.recent.Back().Value.(*entry[K, V]).key)
	}
}

func (c *Cache[K, V]) now() time.Time {
	if c.Now != nil {
		return c.Now()
	}
	return time.Now()
}

// Delete removes the entry under key, if there is one.
func (c *Cache[K, V]) Delete(key K) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.remove(key)
}

// Each calls f for each entry, the entry used last first, expired entries included. It does not count as a use. f must not call the
// Cache.
func (c *Cache[K, V]) Each(f func(key K, value V)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for e := c.recent.Front(); e != nil; e = e.Next() {
		f(e.Value.(*entry[K, V]).key, e.Value.(*entry[K, V]).value)
	}
}

// Clear removes all entries.
func (c *Cache[K, V]) Clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.entries, c.weight = nil, 0
	c.recent.Init()
}

// Weight returns the weight of all entries, [Overhead] included.
func (c *Cache[K, V]) Weight() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.weight
}

func (c *Cache[K, V]) remove(key K) {
	e, ok := c.entries[key]
	if !ok {
		return
	}
	c.weight -= c.recent.Remove(e).(*entry[K, V]).weight
	delete(c.entries, key)
}
