package store_test

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"testing"

	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/storetest"
)

// TestWithinContract: with all paths allowed it is the store itself.
func TestWithinContract(t *testing.T) {
	storetest.Test(t, func(t *testing.T, objs []storetest.Fixture) store.Store {
		m := storetest.New()
		var paths []store.Path
		for _, f := range objs {
			paths = append(paths, m.Put(f))
		}
		m.Add("outside-1", storetest.Files{"x": storetest.File("")}) // valid in the store below, and nowhere to be found
		return store.Within(m, paths...)
	})
}

// TestWithin: the given paths are all there is.
func TestWithin(t *testing.T) {
	m := storetest.New()
	in := m.Add("in-1", storetest.Files{"x": storetest.File("x")})
	out := m.Add("out-1", storetest.Files{"x": storetest.File("")})
	gone := storetest.NewFixture("gone-1", storetest.Files{}).Path
	w := store.Within(m, in, gone)
	for p, want := range map[store.Path]error{in: nil, out: fs.ErrNotExist, gone: fs.ErrNotExist} {
		found, err := w.Find(t.Context(), p.Hash())
		if !errors.Is(err, want) || err == nil && found != p {
			t.Errorf("find %s: %s, %v", p, found, err)
		}
		if o, err := w.Object(t.Context(), p); !errors.Is(err, want) || err == nil && o.Path != p {
			t.Errorf("object %s: %v", p, err)
		}
		tree, err := w.Open(t.Context(), p)
		if !errors.Is(err, want) {
			t.Errorf("open %s: %v", p, err)
		}
		if err == nil {
			tree.Close()
		}
		if _, _, err := store.Resolve(t.Context(), w, p.Abs()+"/x"); !errors.Is(err, want) {
			t.Errorf("resolve below %s: %v", p, err)
		}
	}
	var listed []store.Path
	for e, err := range w.List(t.Context()) {
		if err != nil {
			t.Error(err)
		}
		listed = append(listed, e.Path)
	}
	if !slices.Equal(listed, []store.Path{in}) {
		t.Errorf("lists %v", listed)
	}
}

// TestWithinState changes when that of the store does.
func TestWithinState(t *testing.T) {
	m := storetest.New()
	w := store.Within(m)
	one, err := w.State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	m.Add("a-1", storetest.Files{})
	if two, err := w.State(t.Context()); err != nil || two == one {
		t.Errorf("%q, then %q, %v", one, two, err)
	}
}

// TestWithinErrors: what fails, fails within, too, and a listing that ends early ends.
func TestWithinErrors(t *testing.T) {
	broken := fmt.Errorf("disk: %w", fs.ErrPermission)
	p := storetest.NewFixture("a-1", storetest.Files{}).Path
	w := store.Within(refuser{broken}, p)
	_, err := w.Find(t.Context(), p.Hash())
	_, objectErr := w.Object(t.Context(), p)
	_, openErr := w.Open(t.Context(), p)
	_, stateErr := w.State(t.Context())
	errs := []error{err, objectErr, openErr, stateErr}
	for _, err := range w.List(t.Context()) {
		errs = append(errs, err)
	}
	for i, err := range errs {
		if !errors.Is(err, fs.ErrPermission) {
			t.Errorf("answer %d: %v", i, err)
		}
	}
	if len(errs) != 5 {
		t.Errorf("%d answers", len(errs))
	}
	m := storetest.New()
	a, b := m.Add("a-1", storetest.Files{}), m.Add("b-1", storetest.Files{})
	for e := range store.Within(m, a, b).List(t.Context()) {
		if e.Path != a {
			t.Errorf("lists %s after the end", e.Path)
		}
		break
	}
}
