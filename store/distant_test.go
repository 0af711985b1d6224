package store_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"testing"

	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/storetest"
)

// far is a store that lies far away. What it is to fetch ahead it sends to asked.
type far struct {
	store.Store
	asked chan []store.Path
}

func newFar(s store.Store) *far { return &far{s, make(chan []store.Path, 8)} }

func (*far) Distant() bool                                      { return true }
func (f *far) Prefetch(ctx context.Context, paths []store.Path) { f.asked <- paths }

var errOut = fmt.Errorf("no route: %w", store.ErrUnavailable)

// without is a store whose files cannot be opened, for a reason.
type without struct {
	store.Store
	err error
}

func (w without) Open(context.Context, store.Path) (store.Tree, error) { return nil, w.err }

// TestUnionUnavailable: a store that cannot be asked hides nothing of the others, and what they do not have is not known.
func TestUnionUnavailable(t *testing.T) {
	m := storetest.New()
	p := m.Add("x-1", storetest.Files{"f": storetest.File("a")})
	absent := storetest.NewFixture("y-1", storetest.Files{}).Path
	for name, s := range map[string]store.Store{
		"first": store.Union(refuser{errOut}, m), "last": store.Union(m, refuser{errOut}),
		"nested": store.Union(store.Union(refuser{errOut}), storetest.New(), m),
	} {
		storetest.Check(t, s, p)
		if got, err := s.Find(t.Context(), p.Hash()); got != p {
			t.Errorf("%s: find: %s, %v", name, got, err)
		}
		_, findErr := s.Find(t.Context(), absent.Hash())
		_, objectErr := s.Object(t.Context(), absent)
		_, openErr := s.Open(t.Context(), absent)
		for _, err := range []error{findErr, objectErr, openErr} {
			if !errors.Is(err, store.ErrUnavailable) || errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s: what nobody knows is said to be absent: %v", name, err)
			}
		}
		if state, err := s.State(t.Context()); err != nil || state == "" {
			t.Errorf("%s: state %q, %v", name, state, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	leaving := refuser{errOut}
	s := store.Union(hook{leaving, cancel}, storetest.New())
	if _, err := s.Object(ctx, absent); !errors.Is(err, context.Canceled) {
		t.Errorf("who left is told: %v", err)
	}
}

// hook is a store that calls before at each question for an object.
type hook struct {
	store.Store
	before func()
}

func (h hook) Object(ctx context.Context, p store.Path) (*store.Object, error) {
	h.before()
	return h.Store.Object(ctx, p)
}

// TestUnionStateOfUnavailable is another than that of a store that says the same word.
func TestUnionStateOfUnavailable(t *testing.T) {
	m := storetest.New()
	out, err := store.Union(refuser{errOut}, m).State(t.Context())
	back, err2 := store.Union(named{m}, m).State(t.Context())
	if err != nil || err2 != nil || out == back {
		t.Errorf("%q and %q, %v, %v", out, back, err, err2)
	}
}

// named is a store whose state is a word.
type named struct{ store.Store }

func (named) State(context.Context) (string, error) { return "unavailable", nil }

// TestUnionListUnavailable: the others are listed, and then it is said that there may be more.
func TestUnionListUnavailable(t *testing.T) {
	m := storetest.New()
	p := m.Add("x-1", storetest.Files{})
	var got []store.Path
	var last error
	for e, err := range store.Union(refuser{errOut}, m, unlisted{m}).List(t.Context()) {
		if last = err; err == nil {
			got = append(got, e.Path)
		}
	}
	if !slices.Equal(got, []store.Path{p}) || !errors.Is(last, store.ErrUnavailable) {
		t.Errorf("lists %q, then %v", got, last)
	}
}

// TestUnionOpenElsewhere: a path whose files one store has lost is opened in a later one that has the same.
func TestUnionOpenElsewhere(t *testing.T) {
	a, other, same := storetest.New(), storetest.New(), storetest.New()
	f := storetest.NewFixture("x-1", storetest.Files{"f": storetest.File("a")})
	for _, m := range []*storetest.Memory{a, same} {
		m.Put(f)
	}
	f.Files = storetest.Files{"f": storetest.File("b")} // as a build that is not reproducible
	p := other.Put(f)
	unhashed := storetest.New()
	unhashed.Put(f)
	unhashed.Edit(p, func(o *store.Object) { o.NarHash = store.Hash{} })
	broken := errors.New("disk on fire")

	for _, tt := range []struct {
		name   string
		stores []store.Store
		want   error
	}{
		{"lost, same later", []store.Store{lost{a}, other, same}, nil},
		{"out of reach, same later", []store.Store{without{a, errOut}, refuser{errOut}, same}, nil},
		{"lost twice", []store.Store{lost{a}, lost{same}, same}, nil},
		{"lost, another later", []store.Store{lost{a}, other}, fs.ErrNotExist},
		{"lost, no hash", []store.Store{lost{unhashed}, unhashed}, fs.ErrNotExist},
		{"out of reach, another later", []store.Store{without{a, errOut}, other}, store.ErrUnavailable},
		{"lost, out of reach later", []store.Store{lost{a}, refuser{errOut}}, store.ErrUnavailable},
		{"out of reach, lost later", []store.Store{without{a, errOut}, lost{same}}, store.ErrUnavailable},
		{"broken, same later", []store.Store{without{a, broken}, same}, nil},
		{"broken, another later", []store.Store{without{a, broken}, other}, broken},
		{"lost, broken later", []store.Store{lost{a}, without{same, broken}, same}, nil},
		{"lost, broken last", []store.Store{lost{a}, without{same, broken}}, broken},
	} {
		got, err := store.ReadFile(t.Context(), store.Union(tt.stores...), p, "f", 10)
		if !errors.Is(err, tt.want) || tt.want == nil && string(got) != "a" {
			t.Errorf("%s: %q, %v; want %v", tt.name, got, err, tt.want)
		}
	}
}

func TestIsDistant(t *testing.T) {
	m := storetest.New()
	for _, tt := range []struct {
		name string
		s    store.Store
		want bool
	}{
		{"memory", m, false}, {"far", newFar(m), true}, {"union", store.Union(m, newFar(m)), true}, {"near union", store.Union(m, m), false},
		{"within", store.Within(newFar(m)), true}, {"within near", store.Within(m), false}, {"nested", store.Within(store.Union(store.Within(newFar(m)))), true},
	} {
		if got := store.IsDistant(tt.s); got != tt.want {
			t.Errorf("%s: %t", tt.name, got)
		}
	}
}

// TestPrefetch: each path is fetched from the first store that has it, in the order asked for, by one call.
func TestPrefetch(t *testing.T) {
	near, a, b := storetest.New(), storetest.New(), storetest.New()
	p1 := near.Add("p-1", storetest.Files{})
	p2, p3 := a.Add("p-2", storetest.Files{}), b.Add("p-3", storetest.Files{})
	p4 := a.Add("p-4", storetest.Files{})
	a.Add("p-1", storetest.Files{})
	b.Add("p-4", storetest.Files{})
	gone := storetest.NewFixture("gone-1", storetest.Files{}).Path
	fa, fb := newFar(a), newFar(b)
	outside := a.Add("outside-1", storetest.Files{})
	s := store.Within(store.Union(near, fa, refuser{errOut}, fb), p1, p2, p4, p3, gone)
	store.Prefetch(t.Context(), s, []store.Path{p4, gone, p3, outside, p1, p2})
	if got := <-fa.asked; !slices.Equal(got, []store.Path{p4, p2}) {
		t.Errorf("of the first store %q are fetched", got)
	}
	if got := <-fb.asked; !slices.Equal(got, []store.Path{p3}) {
		t.Errorf("of the second store %q are fetched", got)
	}
	if len(fa.asked)+len(fb.asked) > 0 {
		t.Error("fetched more than once")
	}
	store.Prefetch(t.Context(), near, []store.Path{p1}) // cannot
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	store.Prefetch(ended, fa, []store.Path{p2})
	store.Prefetch(t.Context(), fa, nil)
	if len(fa.asked) > 0 {
		t.Errorf("fetches %q for nobody", <-fa.asked)
	}
}

// stuck is a store whose answers wait for the end of their context.
type stuck struct {
	store.Store
	asked chan context.Context
}

func (s stuck) Object(ctx context.Context, p store.Path) (*store.Object, error) {
	s.asked <- ctx
	<-ctx.Done()
	return nil, ctx.Err()
}

// TestPrefetchIsBounded: of many lists some are let go, and Close ends those that are being divided and waits for that.
func TestPrefetchIsBounded(t *testing.T) {
	m := storetest.New()
	p := m.Add("p-1", storetest.Files{})
	asked := make(chan context.Context, 100)
	f := newFar(m)
	u := store.Union(stuck{m, asked}, f)
	for range 100 {
		store.Prefetch(t.Context(), u, []store.Path{p})
	}
	var all []context.Context
	for range 16 {
		all = append(all, <-asked)
	}
	if err := u.Close(); err != nil {
		t.Error(err)
	}
	store.Prefetch(t.Context(), u, []store.Path{p})
	if len(asked)+len(f.asked) > 0 {
		t.Error("more than 16 lists are divided, or one after the end")
	}
	for _, ctx := range all {
		if ctx.Err() == nil {
			t.Error("a question goes on after the end")
		}
	}
}

// TestPrefetchPanic: a store that panics ends no program.
func TestPrefetchPanic(t *testing.T) {
	m := storetest.New()
	u := store.Union(hook{m, func() { panic("on purpose") }}, newFar(m))
	store.Prefetch(t.Context(), u, []store.Path{m.Add("p-1", storetest.Files{})})
	u.Close()
}

// TestPrefetchWhile: several paths of a distant store are fetched, until they are searched no more.
func TestPrefetchWhile(t *testing.T) {
	m := storetest.New()
	paths := []store.Path{m.Add("a-1", storetest.Files{}), m.Add("b-1", storetest.Files{})}
	f := &searched{far: newFar(m)}
	store.PrefetchWhile(t.Context(), f, paths[:1])()
	store.PrefetchWhile(t.Context(), near{f}, paths)()
	if len(f.asked) > 0 {
		t.Fatalf("fetches %q", <-f.asked)
	}
	stop := store.PrefetchWhile(t.Context(), f, paths)
	if got := <-f.asked; !slices.Equal(got, paths) || f.ctx.Err() != nil {
		t.Errorf("fetches %q, %v", got, f.ctx.Err())
	}
	stop()
	if f.ctx.Err() == nil {
		t.Error("fetches after the search")
	}
}

// searched keeps on whose behalf it was asked to fetch.
type searched struct {
	*far
	ctx context.Context
}

func (s *searched) Prefetch(ctx context.Context, paths []store.Path) {
	s.ctx = ctx
	s.far.Prefetch(ctx, paths)
}

// near is what could fetch, and lies near.
type near struct{ *searched }

func (near) Distant() bool { return false }
