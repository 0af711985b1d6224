package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
)

// Union returns the stores as one. For each path the first store in which it is valid answers, for Object and Open
// alike. One that fails, as it is unavailable or tells nonsense, is passed over; if no other has the path, its error is
// the answer: nobody knows.
//
// Open goes on to later stores if the one that answers Object cannot give the files: to those only that tell the same
// NarHash.
//
// List gives the stores' listings one after the other and leaves out the stores that cannot list; if none can, neither
// can the union. That a store was unavailable is told last, when the others have been listed. State has a word for an
// unavailable store and never fails for it.
//
// Of the errors for an absent path one that matches [ErrExplained] is told, if there is one, as it says more.
//
// The union is [Distant] if any of the stores is, and hands each path of a [Prefetcher]'s list to the first store that
// has it. The caller closes it, before the stores.
func Union(stores ...Store) *Joint {
	u := &Joint{stores: slices.Clone(stores), sharing: make(chan struct{}, maxSharing)}
	u.ctx, u.cancel = context.WithCancel(context.Background())
	return u
}

// Joint is several stores as one, see [Union]. Safe for concurrent use.
type Joint struct {
	stores []Store

	ctx     context.Context // of what Prefetch begins; ends with Close
	cancel  context.CancelFunc
	running sync.WaitGroup
	sharing chan struct{} // maxSharing
	mu      sync.Mutex
	closed  bool

	passed atomic.Int64 // how often an answer came from behind a store that failed
}

// Find implements Store.
func (u *Joint) Find(ctx context.Context, hash string) (Path, error) {
	p, _, err := first(ctx, u, fmt.Sprintf("find %.100q", hash), func(s Store) (Path, error) { return s.Find(ctx, hash) })
	return p, err
}

// Object implements Store.
func (u *Joint) Object(ctx context.Context, p Path) (*Object, error) {
	obj, _, err := u.object(ctx, p)
	return obj, err
}

// Open implements Store. It asks for the object first: a store that has the path valid but lost its files must not
// hand over to one whose files have another hash than the one Object tells.
func (u *Joint) Open(ctx context.Context, p Path) (Tree, error) {
	obj, at, err := u.object(ctx, p)
	if err != nil {
		return nil, err
	}
	t, failed := u.stores[at].Open(ctx, p)
	if failed == nil {
		return t, nil
	}
	for _, s := range u.stores[at+1:] {
		t, err := openSame(ctx, s, obj)
		if err == nil {
			return t, nil
		}
		failed = worse(failed, err)
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("open %s: %w", p, err)
	}
	return nil, failed
}

// openSame opens a path that has the NarHash of obj in s, too.
func openSame(ctx context.Context, s Store, obj *Object) (Tree, error) {
	own, err := s.Object(ctx, obj.Path)
	if err != nil {
		return nil, err
	}
	if own.NarHash != obj.NarHash || own.NarHash == (Hash{}) {
		return nil, fmt.Errorf("open %s: another NarHash: %w", obj.Path, fs.ErrNotExist)
	}
	return s.Open(ctx, obj.Path)
}

// worse is the first of two errors, unless the second says more: why the path is not there, or that nobody knows.
func worse(a, b error) error {
	if tells(b) > tells(a) {
		return b
	}
	return a
}

func tells(err error) int {
	switch {
	case !errors.Is(err, fs.ErrNotExist):
		return 2
	case errors.Is(err, ErrExplained):
		return 1
	}
	return 0
}

func (u *Joint) object(ctx context.Context, p Path) (*Object, int, error) {
	return first(ctx, u, "object "+string(p), func(s Store) (*Object, error) { return s.Object(ctx, p) })
}

// first asks the stores in turn until one answers, and tells which that was.
func first[T any](ctx context.Context, u *Joint, what string, ask func(Store) (T, error)) (T, int, error) {
	var none T
	if err := ctx.Err(); err != nil {
		return none, 0, fmt.Errorf("%s: %w", what, err)
	}
	failed := fmt.Errorf("%s: in none of %d stores: %w", what, len(u.stores), fs.ErrNotExist)
	for i, s := range u.stores {
		v, err := ask(s)
		if err == nil {
			if tells(failed) == 2 {
				u.passed.Add(1)
			}
			return v, i, nil
		}
		failed = worse(failed, err)
	}
	if err := ctx.Err(); err != nil { // what may have kept a store from answering
		return none, 0, fmt.Errorf("%s: %w", what, err)
	}
	return none, 0, failed
}

// List implements Store.
func (u *Joint) List(ctx context.Context) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		seen := make(map[Path]bool)
		refused := 0
		var unavailable error
		for _, s := range u.stores {
			err, stopped := listUnseen(ctx, s, seen, yield)
			switch {
			case stopped:
				return
			case err == nil:
			case errors.Is(err, errors.ErrUnsupported):
				refused++
			case errors.Is(err, ErrUnavailable):
				unavailable = err
			default:
				yield(Entry{}, err)
				return
			}
		}
		switch {
		case unavailable != nil:
			yield(Entry{}, unavailable)
		case refused > 0 && refused == len(u.stores):
			yield(Entry{}, fmt.Errorf("list: none of %d stores can: %w", len(u.stores), errors.ErrUnsupported))
		}
	}
}

// listUnseen yields what s lists and no store before it did. stopped tells that the reader wants no more.
func listUnseen(ctx context.Context, s Store, seen map[Path]bool, yield func(Entry, error) bool) (err error, stopped bool) {
	for e, err := range s.List(ctx) {
		if err != nil {
			return err, false
		}
		if seen[e.Path] {
			continue
		}
		seen[e.Path] = true
		if !yield(e, nil) {
			return nil, true
		}
	}
	return nil, false
}

// State implements Store. It changes each time a store that fails is passed over: with that store the answer may be another.
func (u *Joint) State(ctx context.Context) (string, error) {
	var b strings.Builder
	if n := u.passed.Load(); n > 0 {
		b.WriteString(strconv.FormatInt(n, 10) + " ")
	}
	for _, s := range u.stores {
		state, err := s.State(ctx)
		switch {
		case errors.Is(err, ErrUnavailable):
			b.WriteString(Unavailable + " ")
		case err != nil:
			return "", err
		default:
			b.WriteString(strconv.Quote(state)) // quoted, no two lists of states look the same
		}
	}
	return b.String(), nil
}

// Distant implements Distant.
func (u *Joint) Distant() bool { return slices.ContainsFunc(u.stores, IsDistant) }
