package storetest

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"reflect"
	"slices"
	"sync"
	"testing"

	"github.com/nixreg/nixreg/store"
)

// Test checks that a kind of store keeps the contract of store.Store and store.Tree. open makes a store in which
// exactly the given fixtures are valid; it closes what it opened by t.Cleanup. A store may forget Registered, and may
// refuse to list.
func Test(t *testing.T, open func(t *testing.T, objs []Fixture) store.Store) {
	objs := fixtures()
	s := open(t, objs)
	t.Run("Find", func(t *testing.T) { testFind(t, s, objs) })
	t.Run("Object", func(t *testing.T) { testObject(t, s, objs) })
	t.Run("List", func(t *testing.T) { testList(t, s, objs) })
	t.Run("Nodes", func(t *testing.T) { testNodes(t, s, objs) })
	t.Run("WriteFile", func(t *testing.T) { testWriteFile(t, s, objs) })
	t.Run("Absent", func(t *testing.T) { testAbsent(t, s) })
	t.Run("Cancelled", func(t *testing.T) { testCancelled(t, s, objs[0].Path) })
	t.Run("Check", func(t *testing.T) { Check(t, s, paths(objs)...) })
	t.Run("Concurrent", func(t *testing.T) { testConcurrent(t, s, paths(objs)) })
	t.Run("Empty", func(t *testing.T) {
		for _, err := range open(t, nil).List(t.Context()) {
			if !errors.Is(err, errors.ErrUnsupported) {
				t.Errorf("an empty store lists something: %v", err)
			}
		}
	})
}

func paths(objs []Fixture) []store.Path {
	var out []store.Path
	for _, f := range objs {
		out = append(out, f.Path)
	}
	return out
}

func testFind(t *testing.T, s store.Store, objs []Fixture) {
	for _, f := range objs {
		if p, err := s.Find(t.Context(), f.Path.Hash()); p != f.Path || err != nil {
			t.Errorf("Find(%s) = %q, %v; want %s", f.Path.Hash(), p, err, f.Path)
		}
	}
	h := objs[0].Path.Hash()
	for _, bad := range []string{absent.Hash(), "", h[:31], h + "0", h + "-", "%", "../" + h, string(objs[0].Path)} {
		if p, err := s.Find(t.Context(), bad); p != "" || !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Find(%q) = %q, %v; want fs.ErrNotExist", bad, p, err)
		}
	}
}

func testObject(t *testing.T, s store.Store, objs []Fixture) {
	oracle := New()
	for _, f := range objs {
		want, err := oracle.Object(t.Context(), oracle.Put(f))
		if err != nil {
			t.Fatal(err)
		}
		got, err := s.Object(t.Context(), f.Path)
		if err != nil {
			t.Errorf("Object(%s): %v", f.Path, err)
			continue
		}
		if got.Registered == 0 {
			want.Registered = 0
		}
		if !slices.Equal(got.References, want.References) {
			t.Errorf("Object(%s): references %q, want %q", f.Path, got.References, want.References)
		}
		g, w := *got, *want
		g.References, w.References = nil, nil
		if !reflect.DeepEqual(g, w) {
			t.Errorf("Object(%s) = %+v\nwant %+v", f.Path, g, w)
		}
	}
}

func testList(t *testing.T, s store.Store, objs []Fixture) {
	first := 0
	for e, err := range s.List(t.Context()) {
		if errors.Is(err, errors.ErrUnsupported) {
			if e != (store.Entry{}) || first != 0 {
				t.Errorf("entry beside errors.ErrUnsupported: %+v", e)
			}
			t.Skip("the store cannot list")
		}
		first++
		break
	}
	got := make(map[store.Path]store.Entry)
	for e, err := range s.List(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := got[e.Path]; ok {
			t.Errorf("%s is listed twice", e.Path)
		}
		got[e.Path] = e
	}
	for _, f := range objs {
		obj, err := s.Object(t.Context(), f.Path)
		if err != nil {
			t.Fatal(err)
		}
		if e, ok := got[f.Path]; !ok || e != obj.Entry {
			t.Errorf("List has %+v (%t), Object has %+v", e, ok, obj.Entry)
		}
	}
	if len(got) != len(objs) {
		t.Errorf("List yields %d entries, want %d", len(got), len(objs))
	}
}

func testAbsent(t *testing.T, s store.Store) {
	if obj, err := s.Object(t.Context(), absent); obj != nil || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Object = %v, %v; want fs.ErrNotExist", obj, err)
	}
	if tr, err := s.Open(t.Context(), absent); tr != nil || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open = %v, %v; want fs.ErrNotExist", tr, err)
	}
}

func testCancelled(t *testing.T, s store.Store, p store.Path) {
	tr := mustOpen(t, s, p)
	nodes := collect(t, tr, "")
	file := slices.IndexFunc(nodes, func(nd store.Node) bool { return nd.Kind == store.Regular })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	errs := make(map[string]error)
	_, errs["Find"] = s.Find(ctx, p.Hash())
	_, errs["Object"] = s.Object(ctx, p)
	_, errs["Open"] = s.Open(ctx, p)
	errs["WriteFile"] = tr.WriteFile(ctx, &bytes.Buffer{}, nodes[file], 0, nodes[file].Size)
	for _, errs["Nodes"] = range tr.Nodes(ctx, "") {
	}
	for _, errs["List"] = range s.List(ctx) {
	}
	for name, err := range errs {
		if !errors.Is(err, context.Canceled) && !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%s with a cancelled context: %v", name, err)
		}
	}
}

func testConcurrent(t *testing.T, s store.Store, ps []store.Path) {
	var wg sync.WaitGroup
	for range 4 {
		for _, p := range ps {
			wg.Go(func() {
				obj, err := s.Object(t.Context(), p)
				if err != nil {
					t.Error(err)
					return
				}
				checkNAR(t, s, obj)
			})
		}
	}
	wg.Wait()
}
