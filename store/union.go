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

// Union returns several stores as one. The first store in which a path is valid answers for it, in Object and Open alike.
// A store that fails is passed over. If no other store has the path, the error of that store is the answer.
//
// If that store cannot give the files, Open tries the later stores that have the path with the same NarHash.
//
// List yields the listings of the stores one after the other and leaves out stores that cannot list. If none can, the
// union cannot. The error of an unavailable store comes last, after all listings. State does not fail for an unavailable
// store.
//
// If several stores give errors for an absent path, one that matches [ErrExplained] is returned.
//
// The union is [Distant] if one of the stores is. Prefetch hands each path to the first store that has it. The caller
// closes the union before the stores.
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

	passed atomic.Int64 // answers that came after another store had failed
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

// Open implements Store. It asks for the object first: if a store has lost the files of a valid path, the files of another
// store must have the hash that Object gives.
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
		failed = stronger(failed, err)
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("open %s: %w", p, err)
	}
	return nil, failed
}

// openSame opens a path of s if it has the NarHash of obj.
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

// stronger returns the first of two errors, unless the second has the higher rank.
func stronger(a, b error) error {
	if rank(b) > rank(a) {
		return b
	}
	return a
}

// rank is 2 for a store that failed, 1 for an absent path with a reason, 0 for an absent path.
func rank(err error) int {
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

// first asks the stores in turn until one answers. It returns the answer and the index of that store.
func first[T any](ctx context.Context, u *Joint, what string, ask func(Store) (T, error)) (T, int, error) {
	var none T
	if err := ctx.Err(); err != nil {
		return none, 0, fmt.Errorf("%s: %w", what, err)
	}
	failed := fmt.Errorf("%s: in no store: %w", what, fs.ErrNotExist)
	for i, s := range u.stores {
		v, err := ask(s)
		if err == nil {
			if rank(failed) == 2 {
				u.passed.Add(1)
			}
			return v, i, nil
		}
		failed = stronger(failed, err)
	}
	if err := ctx.Err(); err != nil { // the stores may have failed because of it
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

// listUnseen yields the entries of s that no store before it has listed. stopped reports that the caller has ended the iteration.
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

// State implements Store. It changes each time a failed store is passed over, because that store may have another answer.
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
			b.WriteString(strconv.Quote(state)) // so that no two lists of states are the same string
		}
	}
	return b.String(), nil
}

// Distant implements Distant.
func (u *Joint) Distant() bool { return slices.ContainsFunc(u.stores, IsDistant) }
