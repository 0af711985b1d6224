package store_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"slices"
	"testing"

	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/storetest"
)

func TestUnionContract(t *testing.T) {
	storetest.Test(t, func(t *testing.T, objs []storetest.Fixture) store.Store {
		a, b := storetest.New(), storetest.New()
		for i, f := range objs {
			if i%3 != 0 {
				a.Put(f)
			}
			if i%3 != 1 {
				b.Put(f)
			}
		}
		return store.Union(a, b)
	})
}

// refuser answers everything with one error.
type refuser struct{ err error }

func (r refuser) Find(context.Context, string) (store.Path, error)          { return "", r.err }
func (r refuser) Object(context.Context, store.Path) (*store.Object, error) { return nil, r.err }
func (r refuser) Open(context.Context, store.Path) (store.Tree, error)      { return nil, r.err }
func (r refuser) State(context.Context) (string, error)                     { return "", r.err }
func (r refuser) List(context.Context) iter.Seq2[store.Entry, error] {
	return func(yield func(store.Entry, error) bool) { yield(store.Entry{}, r.err) }
}

// lost has everything the store has, but not its files.
type lost struct{ store.Store }

func (l lost) Open(context.Context, store.Path) (store.Tree, error) {
	return nil, fmt.Errorf("lost: %w", fs.ErrNotExist)
}

// unlisted cannot list.
type unlisted struct{ store.Store }

func (unlisted) List(ctx context.Context) iter.Seq2[store.Entry, error] {
	return refuser{errors.ErrUnsupported}.List(ctx)
}

func TestUnionFirstHit(t *testing.T) {
	a, b := storetest.New(), storetest.New()
	f := storetest.NewFixture("x-1", storetest.Files{"f": storetest.File("a")})
	a.Put(f)
	f.Files = storetest.Files{"f": storetest.File("b")} // as a build that is not reproducible
	b.Put(f)
	only := b.Add("only-1", storetest.Files{})
	ctx := t.Context()

	s := store.Union(a, b)
	if got, err := store.ReadFile(ctx, s, f.Path, "f", 10); string(got) != "a" {
		t.Errorf("the second store answered: %q, %v", got, err)
	}
	storetest.Check(t, s, f.Path, only)

	if _, err := store.Union(lost{a}, b).Open(ctx, f.Path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("open took the files of a store whose object it would not tell: %v", err)
	}
	broken := errors.New("disk on fire")
	storetest.Check(t, store.Within(store.Union(refuser{broken}, b), f.Path, only), f.Path, only)
	for i, s := range []store.Store{store.Union(refuser{broken}, storetest.New()), store.Union(storetest.New(), refuser{broken})} {
		_, err1 := s.Find(ctx, f.Path.Hash())
		_, err2 := s.Object(ctx, f.Path)
		_, err3 := s.Open(ctx, f.Path)
		_, err4 := s.State(ctx)
		if !errors.Is(err1, broken) || !errors.Is(err2, broken) || !errors.Is(err3, broken) || !errors.Is(err4, broken) {
			t.Errorf("%d: a store's error was lost: %v, %v, %v, %v", i, err1, err2, err3, err4)
		}
	}
}

func TestUnionList(t *testing.T) {
	a, b := storetest.New(), storetest.New()
	p1 := a.Add("p-1", storetest.Files{})
	p2 := a.Add("p-2", storetest.Files{})
	p3 := b.Add("p-3", storetest.Files{})
	b.Add("p-1", storetest.Files{})
	broken := errors.New("disk on fire")
	for _, tt := range []struct {
		name string
		s    store.Store
		want []store.Path
		err  error
	}{
		{"none", store.Union(), nil, nil},
		{"in order", store.Union(a, b), []store.Path{p1, p2, p3}, nil},
		{"other order", store.Union(b, a), []store.Path{p3, p1, p2}, nil},
		{"one cannot", store.Union(unlisted{a}, b), []store.Path{p3, p1}, nil},
		{"none can", store.Union(unlisted{a}, unlisted{b}), nil, errors.ErrUnsupported},
		{"one fails", store.Union(a, refuser{broken}, b), []store.Path{p1, p2}, broken},
		{"nested", store.Union(store.Union(unlisted{a}), b), []store.Path{p3, p1}, nil},
	} {
		var got []store.Path
		var last error
		for e, err := range tt.s.List(t.Context()) {
			if last = err; err == nil {
				got = append(got, e.Path)
			}
		}
		if !slices.Equal(got, tt.want) || !errors.Is(last, tt.err) {
			t.Errorf("%s: %q, %v; want %q, %v", tt.name, got, last, tt.want, tt.err)
		}
	}
}

func TestUnionState(t *testing.T) {
	a, b := storetest.New(), storetest.New()
	s := store.Union(a, b)
	seen := make(map[string]bool)
	for i, change := range []func(){func() {}, func() { a.Add("x", storetest.Files{}) }, func() { b.Add("x", storetest.Files{}) }, func() { a.Delete("x") }} {
		change()
		state, err := s.State(t.Context())
		if err != nil || seen[state] {
			t.Errorf("after change %d: %q (%v) was there before", i, state, err)
		}
		seen[state] = true
	}
}

// TestUnionExplains: of stores that do not have a path the one that says why is heard, but not before one that cannot be asked.
func TestUnionExplains(t *testing.T) {
	p := storetest.NewFixture("x-1", storetest.Files{}).Path
	why := refuser{fmt.Errorf("x-1 was built again with other contents: %w", store.ErrExplained)}
	none := storetest.New()
	for name, tt := range map[string]struct {
		stores []store.Store
		want   error
	}{
		"first": {[]store.Store{why, none}, why.err}, "last": {[]store.Store{none, why}, why.err}, "nested": {[]store.Store{none, store.Union(none, why)}, why.err},
		"out of reach": {[]store.Store{why, refuser{errOut}}, errOut}, "first of two": {[]store.Store{why, refuser{store.ErrExplained}}, why.err},
	} {
		u := store.Union(tt.stores...)
		_, err1 := u.Object(t.Context(), p)
		_, err2 := u.Open(t.Context(), p)
		_, err3 := u.Find(t.Context(), p.Hash())
		for _, err := range []error{err1, err2, err3} {
			if !errors.Is(err, tt.want) || errors.Is(err, fs.ErrNotExist) != (tt.want == why.err) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}
