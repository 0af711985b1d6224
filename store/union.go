package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"strconv"
	"strings"
)

// Union returns the stores as one. For each path the first store in which it is valid answers, for Object and Open
// alike; an error that does not match [fs.ErrNotExist] ends the search. List gives the stores' listings one after the
// other and leaves out the stores that cannot list; if none can, neither can the union. It closes nothing.
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
// hand over to another, whose files may have another hash than the one Object tells.
func (u union) Open(ctx context.Context, p Path) (Tree, error) {
	_, s, err := u.object(ctx, p)
	if err != nil {
		return nil, err
	}
	return s.Open(ctx, p)
}

func (u union) object(ctx context.Context, p Path) (*Object, Store, error) {
	return first(ctx, u, "object "+string(p), func(s Store) (*Object, error) { return s.Object(ctx, p) })
}

// first asks the stores in turn until one does not answer [fs.ErrNotExist], and tells which that was.
func first[T any](ctx context.Context, u union, what string, ask func(Store) (T, error)) (T, Store, error) {
	var none T
	if err := ctx.Err(); err != nil {
		return none, nil, fmt.Errorf("%s: %w", what, err)
	}
	for _, s := range u {
		v, err := ask(s)
		switch {
		case err == nil:
			return v, s, nil
		case !errors.Is(err, fs.ErrNotExist):
			return none, nil, err
		}
	}
	return none, nil, fmt.Errorf("%s: in none of %d stores: %w", what, len(u), fs.ErrNotExist)
}

// List implements Store.
func (u union) List(ctx context.Context) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		seen := make(map[Path]bool)
		refused := 0
		for _, s := range u {
			for e, err := range s.List(ctx) {
				if errors.Is(err, errors.ErrUnsupported) {
					refused++
					break
				}
				if err != nil {
					yield(Entry{}, err)
					return
				}
				if seen[e.Path] {
					continue
				}
				seen[e.Path] = true
				if !yield(e, nil) {
					return
				}
			}
		}
		if refused > 0 && refused == len(u) {
			yield(Entry{}, fmt.Errorf("list: none of %d stores can: %w", len(u), errors.ErrUnsupported))
		}
	}
}

// State implements Store.
func (u union) State(ctx context.Context) (string, error) {
	var b strings.Builder
	for _, s := range u {
		state, err := s.State(ctx)
		if err != nil {
			return "", err
		}
		b.WriteString(strconv.Quote(state)) // quoted, no two lists of states look the same
	}
	return b.String(), nil
}
