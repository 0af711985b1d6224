package layer_test

import (
	"errors"
	"io/fs"
	"testing"

	"github.com/nixreg/nixreg/manifest/layer"
	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/storetest"
)

// TestMutablePath: a layer of a mutable path is served as long as its own files have the same bytes.
func TestMutablePath(t *testing.T) {
	s := storetest.New()
	p := s.Add("app", storetest.Files{"a": storetest.File("one"), "b": storetest.File("two")})
	m := newMaker(t, s)
	m.Mutable = func(q store.Path) bool { return q == p }
	r := layer.Recipe{Format: layer.Verbatim, Objects: []layer.Ref{layer.RefOf(object(t, s, p))}, File: "a"}
	pinned, err := m.Pinned(ctx, r)
	if err != nil {
		t.Fatal(err)
	}
	info := describe(t, m, pinned)
	s.Edit(p, func(o *store.Object) { o.NarHash[0] ^= 1 })
	if _, err := m.Open(ctx, pinned, info.Digest); err != nil {
		t.Errorf("with another fingerprint: %v", err)
	}
	r.Objects[0] = layer.RefOf(object(t, s, p))
	if again, err := m.Pinned(ctx, r); err != nil || again.ID() != pinned.ID() {
		t.Errorf("another recipe for the same file: %v", err)
	}
	m.Mutable = nil
	if _, err := m.Open(ctx, pinned, info.Digest); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a path of the store: %v", err)
	}
}
