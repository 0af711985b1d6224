package realise_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/realise"
	"github.com/nixreg/nixreg/store/storetest"
)

// records is a Records in memory.
type records struct {
	mu sync.Mutex
	m  map[string][]byte
}

func (r *records) Get(_ context.Context, key string) ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if v, ok := r.m[key]; ok {
		return v, nil
	}
	return nil, fs.ErrNotExist
}

func (r *records) Put(_ context.Context, key string, value []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.m == nil {
		r.m = make(map[string][]byte)
	}
	r.m[key] = value
	return nil
}

func TestStoreContract(t *testing.T) {
	storetest.Test(t, func(t *testing.T, objs []storetest.Fixture) store.Store {
		m := storetest.New()
		for _, f := range objs {
			m.Put(f)
		}
		return realise.NewStoreOf(m, nil, new(records), time.Now)
	})
}

func TestStoreBuildsAgain(t *testing.T) {
	ctx := t.Context()
	files := storetest.Files{"": storetest.File("hello")}
	m := storetest.New()
	p := m.Add("hello-1.0", files)
	o, err := m.Object(ctx, p)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1000, 0)
	builds := 0
	var build func()
	s := realise.NewStoreOf(m, func(_ context.Context, attr realise.Attr, system string) ([]store.Path, error) {
		if builds++; attr != "hello" || system != host {
			t.Errorf("build %s for %s", attr, system)
		}
		if build == nil {
			return nil, errors.New("no")
		}
		build()
		return []store.Path{p}, nil
	}, new(records), func() time.Time { return now })
	must := func(kind error, want int) {
		t.Helper()
		builds = 0
		got, err := s.Object(ctx, p)
		if kind == nil && (err != nil || got.NarHash != o.NarHash) || kind != nil && !errors.Is(err, kind) || builds != want {
			t.Errorf("%v after %d builds, want %v after %d", err, builds, kind, want)
		}
	}
	must(nil, 0)
	m.Delete(p)
	must(fs.ErrNotExist, 0) // nobody remembers what it was
	if err := s.Remember(ctx, "hello", host, []store.Path{p}, []*store.Object{o}); err != nil {
		t.Fatal(err)
	}
	builds = 0
	if _, err := s.Object(ctx, p); err == nil || errors.Is(err, fs.ErrNotExist) || builds != 1 {
		t.Errorf("%v after %d builds; want the builder's error", err, builds)
	}
	build = func() { m.Add("hello-1.0", files) }
	must(nil, 1)
	must(nil, 0)
	m.Delete(p)
	tree, err := s.Open(ctx, p)
	if err != nil {
		t.Fatal(err)
	}
	for nd, err := range tree.Nodes(ctx, "") {
		if err != nil || tree.WriteFile(ctx, io.Discard, nd, 0, nd.Size) != nil {
			t.Errorf("read what was built again: %v", err)
		}
	}
	tree.Close()

	m.Delete(p)
	build = func() { m.Add("hello-1.0", files); m.Edit(p, func(o *store.Object) { o.NarHash[0]++ }) }
	must(fs.ErrNotExist, 1)
	m.Delete(p)
	must(fs.ErrNotExist, 0) // known to be hopeless
	now = now.Add(time.Minute + 1)
	build = func() { m.Add("hello-2.0", files) }
	must(fs.ErrNotExist, 1)
	if _, err := s.Open(ctx, p); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open: %v", err)
	}
}

// TestStoreBuildsNothingElse: where the attribute has become another package, what it was is not got by building that.
func TestStoreBuildsNothingElse(t *testing.T) {
	ctx, m, builds, now := t.Context(), storetest.New(), 0, time.Unix(1000, 0)
	lib, hello := m.Add("lib-1.0", storetest.Files{}), m.Add("hello-1.0", storetest.Files{})
	objects, err := store.Objects(ctx, m, lib, hello)
	if err != nil {
		t.Fatal(err)
	}
	s := realise.NewStoreOf(m, func(context.Context, realise.Attr, string) ([]store.Path, error) {
		builds++
		m.Add("lib-1.0", storetest.Files{})
		return []store.Path{hello}, nil
	}, new(records), func() time.Time { return now })
	if err := s.Remember(ctx, "hello", host, []store.Path{hello}, objects); err != nil {
		t.Fatal(err)
	}
	m.Delete(lib)
	m.Delete(hello)
	broken := errors.New("broken")
	for _, c := range []struct {
		outputs []store.Path
		err     error
		want    error
		builds  int
	}{
		{nil, broken, broken, 0},
		{nil, fs.ErrNotExist, store.ErrExplained, 0},
		{[]store.Path{helloPath}, nil, store.ErrExplained, 0},
		{[]store.Path{helloPath, hello}, nil, nil, 1}, // one of several
	} {
		now = now.Add(time.Hour)
		s.SetOutputs(func() ([]store.Path, error) { return c.outputs, c.err })
		builds = 0
		_, err := s.Object(ctx, lib)
		if !errors.Is(err, c.want) || builds != c.builds || err != nil && !strings.Contains(err.Error(), string(lib)+" has gone") {
			t.Errorf("outputs %v, %v: %v after %d builds", c.outputs, c.err, err, builds)
		}
		if u := store.Union(storetest.New(), s); c.want == store.ErrExplained {
			if _, err := u.Object(ctx, lib); !errors.Is(err, store.ErrExplained) {
				t.Errorf("a union says %v", err)
			}
		}
	}
}

type distant struct {
	store.Store
	fetched []store.Path
}

func (d *distant) Distant() bool                               { return true }
func (d *distant) Prefetch(_ context.Context, ps []store.Path) { d.fetched = ps }

func TestStoreForwards(t *testing.T) {
	inner := &distant{Store: storetest.New()}
	var s store.Store = realise.NewStoreOf(inner, nil, new(records), time.Now)
	if d, ok := s.(store.Distant); !ok || !d.Distant() {
		t.Error("is not distant")
	}
	s.(store.Prefetcher).Prefetch(t.Context(), []store.Path{helloPath})
	if len(inner.fetched) != 1 {
		t.Error("does not fetch ahead")
	}
	near := realise.NewStoreOf(storetest.New(), nil, new(records), time.Now)
	near.Prefetch(t.Context(), nil)
	if near.Distant() {
		t.Error("a near store is distant")
	}
}
