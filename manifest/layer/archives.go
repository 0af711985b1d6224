package layer

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"

	"github.com/nixreg/nixreg/internal/flight"
	"github.com/nixreg/nixreg/internal/lru"
	"github.com/nixreg/nixreg/manifest/layer/gunzip"
	"github.com/nixreg/nixreg/store"
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
	Compression Compression       `json:"packing,omitempty"`
	Members     map[string]member `json:"members"`
	Kept        []byte            `json:"kept,omitempty"`
}

func archiveKey(key string) string {
	sum := sha256.Sum256([]byte(key))
	return "archive/" + hex.EncodeToString(sum[:])
}

// knownContents are those in memory, or recorded; nil if an archive has to be looked through.
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
	m.archives.Max, m.archives.KeepLast = archivesWeight, true // the caller is about to read it
	m.archives.Put(key, c, c.weight())
}

func (m *Maker) recordContents(ctx context.Context, key string, c *contents) error {
	b, err := json.Marshal(archiveRecord{c.compression, c.members, c.kept})
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
	m.indexes.Max, m.indexes.KeepLast = cmp.Or(m.indexed, indexesWeight), true // the caller is about to read it
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

// index returns the index of a gzipped archive, which it reads through once more if the index is not in memory.
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
