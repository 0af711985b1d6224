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
// The union is [Distant] if any of the stores is, and hands each path of a [Prefetcher]'s list to the first store that
// has it. It closes nothing.
func Union(stores ...Store) Store { return union(stores) }

type union []Store

// Find implements Store.
func (u union) Find(ctx context.Context, hash string) (Path, error) {
	p, _, err := first(ctx, u, fmt.Sprintf("find %.100q", hash), func(s Store) (Path, error) { return s.Find(ctx, hash) })
	return p, err
}

// Object implements Store.
func (u union) Object(ctx context.Context, p Path) (*Object, error) {
	obj, _, err := u.object(ctx, p)
	return obj, err
}

// Open implements Store. It asks for the object first: a store that has the path valid but lost its files must not
// hand over to one whose files have another hash than the one Object tells.
func (u union) Open(ctx context.Context, p Path) (Tree, error) {
	obj, at, err := u.object(ctx, p)
	if err != nil {
		return nil, err
	}
	t, failed := u[at].Open(ctx, p)
	if failed == nil {
		return t, nil
	}
	for _, s := range u[at+1:] {
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

// worse is the first of two errors, unless that only says that the path is not there and the second says more.
func worse(a, b error) error {
	if errors.Is(a, fs.ErrNotExist) && !errors.Is(b, fs.ErrNotExist) {
		return b
	}
	return a
}

func (u union) object(ctx context.Context, p Path) (*Object, int, error) {
	return first(ctx, u, "object "+string(p), func(s Store) (*Object, error) { return s.Object(ctx, p) })
}

// first asks the stores in turn until one answers, and tells which that was.
func first[T any](ctx context.Context, u union, what string, ask func(Store) (T, error)) (T, int, error) {
	var none T
	if err := ctx.Err(); err != nil {
		return none, 0, fmt.Errorf("%s: %w", what, err)
	}
	failed := fmt.Errorf("%s: in none of %d stores: %w", what, len(u), fs.ErrNotExist)
	for i, s := range u {
		v, err := ask(s)
		if err == nil {
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
func (u union) List(ctx context.Context) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		seen := make(map[Path]bool)
		refused := 0
		var unavailable error
		for _, s := range u {
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
		case refused > 0 && refused == len(u):
			yield(Entry{}, fmt.Errorf("list: none of %d stores can: %w", len(u), errors.ErrUnsupported))
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

// State implements Store.
func (u union) State(ctx context.Context) (string, error) {
	var b strings.Builder
	for _, s := range u {
		state, err := s.State(ctx)
		switch {
		case errors.Is(err, ErrUnavailable):
			b.WriteString("unavailable ")
		case err != nil:
			return "", err
		default:
			b.WriteString(strconv.Quote(state)) // quoted, no two lists of states look the same
		}
	}
	return b.String(), nil
}

// Distant implements Distant.
func (u union) Distant() bool { return slices.ContainsFunc(u, IsDistant) }

// Prefetch implements Prefetcher. Which store has a path may take a while to find out where nobody asked before; that
// goes on until ctx ends.
func (u union) Prefetch(ctx context.Context, paths []Path) {
	if !slices.ContainsFunc(u, func(s Store) bool { _, ok := s.(Prefetcher); return ok }) {
		return
	}
	go u.share(ctx, slices.Clone(paths))
}

// share gives each path to the first store that has it, all of one store at once and in their order.
func (u union) share(ctx context.Context, paths []Path) {
	of := make([][]Path, len(u))
	for _, p := range paths {
		_, i, err := u.object(ctx, p)
		if err == nil { // or else Open meets it again
			of[i] = append(of[i], p)
		}
	}
	for i, s := range u {
		Prefetch(ctx, s, of[i])
	}
}
