package layer_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"testing"

	"github.com/nixreg/nixreg/internal/flight"
	"github.com/nixreg/nixreg/manifest/digests"
	"github.com/nixreg/nixreg/manifest/layer"
	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/storetest"
)

// builds is a store of two builds of one path: what it tells of the path is one of them, what it opens may be the other.
type builds struct {
	told, opened store.Store
}

func (b *builds) Object(ctx context.Context, p store.Path) (*store.Object, error) {
	return b.told.Object(ctx, p)
}
func (b *builds) Open(ctx context.Context, p store.Path) (store.Tree, error) {
	t, err := b.opened.Open(ctx, p)
	if err != nil {
		return nil, err
	}
	o, err := b.opened.Object(ctx, p)
	return hashed{t, o.NarHash}, err
}

type hashed struct {
	store.Tree
	hash store.Hash
}

func (h hashed) NarHash() store.Hash { return h.hash }

// union is a whole store of builds.
type union struct {
	store.Store
	*builds
}

func (u union) Object(ctx context.Context, p store.Path) (*store.Object, error) {
	return u.builds.Object(ctx, p)
}
func (u union) Open(ctx context.Context, p store.Path) (store.Tree, error) {
	return u.builds.Open(ctx, p)
}

// TestAnotherBuildIsOpened: a store that changes its mind between a look at a path and its files, as a union of two caches
// does when one of them comes back, has no digest recorded for the wrong bytes, and none served.
func TestAnotherBuildIsOpened(t *testing.T) {
	once, anew := storetest.New(), storetest.New()
	f := storetest.NewFixture("x-1", storetest.Files{"": storetest.Dir(), "f": storetest.File("built once")})
	p := once.Put(f)
	f.Files = storetest.Files{"": storetest.Dir(), "f": storetest.File("built anew")}
	anew.Put(f)
	b := &builds{told: anew, opened: once}
	g := flight.NewGroup(t.Context())
	defer g.Close()
	m := &layer.Maker{
		Store: union{anew, b}, Cache: digests.NewMemory(1 << 20), Group: g,
		Hashing: &flight.Queue{Running: 1}, Scanning: &flight.Queue{Running: 1},
	}
	o, err := anew.Object(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	r := layer.Recipe{Format: layer.StorePaths, Objects: []layer.Ref{layer.RefOf(o)}}
	if info, err := m.Describe(t.Context(), r); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("hashed the other build: %+v, %v", info, err)
	}
	b.opened = anew
	info, err := m.Describe(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	l, err := m.Open(t.Context(), r, info.Digest)
	if err != nil {
		t.Fatal(err)
	}
	b.opened = once
	var out bytes.Buffer
	if err := l.WriteRange(t.Context(), &out, 0, l.Size()); !errors.Is(err, fs.ErrNotExist) || int64(out.Len()) == l.Size() {
		t.Errorf("served the other build: %d bytes, %v", out.Len(), err)
	}
}
