package storetest

import (
	"errors"
	"testing"

	"github.com/nixreg/nixreg/store"
)

// Check checks rules that hold for any path in any store: the NarHash is that of the files, the tree is in order, and Find and
// Object agree. Without paths it checks all paths that the store lists, and that the state of the store does not change.
func Check(t *testing.T, s store.Store, ps ...store.Path) {
	t.Helper()
	if len(ps) == 0 {
		before, err := s.State(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if after, err := s.State(t.Context()); after != before || err != nil {
				t.Errorf("state was %q, is %q (%v), and nothing was changed", before, after, err)
			}
		}()
		for e, err := range s.List(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			ps = append(ps, e.Path)
		}
	}
	for _, p := range ps {
		obj, err := s.Object(t.Context(), p)
		if err != nil {
			t.Error(err)
			continue
		}
		if found, err := s.Find(t.Context(), p.Hash()); found != p || err != nil || obj.Path != p {
			t.Errorf("%s: Find gives %q (%v), Object %q", p, found, err, obj.Path)
		}
		for i, r := range obj.References {
			if _, err := store.ParsePath(string(r)); err != nil || i > 0 && r <= obj.References[i-1] {
				t.Errorf("%s: references malformed or out of order: %q (%v)", p, r, err)
			}
		}
		checkNAR(t, s, obj)
	}
}

func checkNAR(t *testing.T, s store.Store, obj *store.Object) {
	t.Helper()
	tr, err := s.Open(t.Context(), obj.Path)
	if err != nil {
		t.Error(err)
		return
	}
	hash, size, err := HashNAR(t.Context(), tr)
	if err = errors.Join(err, tr.Close()); err != nil {
		t.Errorf("%s: %v", obj.Path, err)
		return
	}
	if hash != obj.NarHash || size != obj.NarSize {
		t.Errorf("%s: the files make %s, %d bytes; the store says %s, %d", obj.Path, hash, size, obj.NarHash, obj.NarSize)
	}
}
