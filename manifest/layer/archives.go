package layer

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"

	"github.com/nixreg/nixreg/internal/flight"
	"github.com/nixreg/nixreg/internal/lru"
	"github.com/nixreg/nixreg/manifest/layer/gunzip"
	"github.com/nixreg/nixreg/store"
)

// Bounds of the caches in bytes. The contents are small, and each request for a tag needs them. The indexes are large; reads from
// the middle of a gzipped archive need them.
const (
	archivesWeight = 16 << 20
	indexesWeight  = 64 << 20
	leastIndex     = 100 << 10 // a smaller index is not thinned
	maxRecorded    = 4 << 20   // of one record of contents
)

// archiveRecord is the record of the contents of an archive, as JSON.
type archiveRecord struct {
	Compression Compression       `json:"packing,omitempty"`
	Members     map[string]member `json:"members"`
	Kept        []byte            `json:"kept,omitempty"`
}

func archiveKey(key string) string {
	sum := sha256.Sum256([]byte(key))
	return "archive/" + hex.EncodeToString(sum[:])
}

func contentsKey(ref Ref, at store.Path, nd store.Node) string {
	return fmt.Sprint("archive/", ref.NarHash, "/", at, "/", nd.Name, nd.Size, nd.Stamp)
}

// contents returns the contents of an archive, which it reads as a whole if they are not cached; concurrent calls share one read.
// It waits for Scanning only, so that it may be called while Hashing is held.
func (m *Maker) contents(ctx context.Context, ref Ref, at store.Path, nd store.Node) (*contents, error) {
	key := contentsKey(ref, at, nd)
	if c := m.knownContents(ctx, key, at, nd); c != nil {
		return c, nil
	}
	return flight.Once(ctx, m.Group, key, func(ctx context.Context) (*contents, error) {
		release, err := m.Scanning.Acquire(ctx)
		if err != nil {
			return nil, err
		}
		defer release()
		c := &contents{at: at, node: nd, members: make(map[string]member)}
		x := new(gunzip.Index)
		if err := c.read(ctx, m.Store, m.limit(nd.Size), x); err != nil {
			return nil, fmt.Errorf("archive %s: %w", ref.Path, err)
		}
		if c.compression == Gzipped {
			m.keepIndex(key, x)
		}
		m.keepContents(key, c)
		return c, m.recordContents(ctx, key, c)
	})
}

// knownContents returns the contents from memory or from their record, or nil.
func (m *Maker) knownContents(ctx context.Context, key string, at store.Path, nd store.Node) *contents {
	if c, ok := m.archives.Get(key); ok {
		return c
	}
	if m.Cache == nil {
		return nil
	}
	var r archiveRecord
	if b, err := m.Cache.Get(ctx, archiveKey(key)); err != nil || json.Unmarshal(b, &r) != nil {
		return nil
	}
	c := &contents{at: at, node: nd, compression: r.Compression, members: r.Members, kept: r.Kept}
	for name, member := range r.Members {
		c.names += len(name) + len(member.Link)
	}
	m.keepContents(key, c)
	return c
}

func (m *Maker) keepContents(key string, c *contents) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.archives.Max, m.archives.KeepLast = archivesWeight, true // the caller reads it next
	m.archives.Put(key, c, c.weight())
}

func (m *Maker) recordContents(ctx context.Context, key string, c *contents) error {
	b, err := json.Marshal(archiveRecord{c.compression, c.members, c.kept})
	if err != nil || len(b) > maxRecorded || m.Cache == nil {
		return err
	}
	return m.Cache.Put(ctx, archiveKey(key), b)
}

// keepIndex caches an index. To stay within the bound it thins the largest indexes, and evicts one only if all are small: with a
// coarse index a range costs a little more, without one it costs the whole archive.
func (m *Maker) keepIndex(key string, x *gunzip.Index) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.indexes.Max, m.indexes.KeepLast = cmp.Or(m.indexed, indexesWeight), true // the caller reads it next
	for {
		weight, heaviest, of := x.Weight()+lru.Overhead, x, key
		m.indexes.Each(func(k string, other *gunzip.Index) {
			if k == key {
				return
			}
			weight += other.Weight() + lru.Overhead
			if other.Weight() > heaviest.Weight() {
				heaviest, of = other, k
			}
		})
		if weight <= m.indexes.Max || heaviest.Weight() < leastIndex {
			m.indexes.Put(key, x, x.Weight())
			return
		}
		thin := heaviest.Thinner()
		if of == key {
			x = thin
		} else {
			m.indexes.Put(of, thin, thin.Weight())
		}
	}
}

// index returns the index of a gzipped archive. If it is not in memory, the whole archive is read.
func (m *Maker) index(ctx context.Context, key string, at store.Path, nd store.Node) (*gunzip.Index, error) {
	if x, ok := m.indexes.Get(key); ok {
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
