package store

import (
	"context"
	"fmt"
	"io/fs"
	"iter"
	"slices"
)

// Within returns a view of s in which only the given paths are valid. An image that is made of a closure through it depends
// on that closure alone: a link to another path leads nowhere, even if that path is in s. The view is distant if s is, and
// prefetches the given paths only.
func Within(s Store, paths ...Path) Store {
	w := within{Store: s, paths: make(map[Path]bool, len(paths))}
	for _, p := range paths {
		w.paths[p] = true
	}
	return w
}

type within struct {
	Store
	paths map[Path]bool
}

func (w within) Find(ctx context.Context, hash string) (Path, error) {
	p, err := w.Store.Find(ctx, hash)
	if err == nil && !w.paths[p] {
		return "", fmt.Errorf("find %.100s: %w", hash, fs.ErrNotExist)
	}
	return p, err
}

func (w within) Object(ctx context.Context, p Path) (*Object, error) {
	if !w.paths[p] {
		return nil, fmt.Errorf("object %s: not in the closure: %w", p, fs.ErrNotExist)
	}
	return w.Store.Object(ctx, p)
}

func (w within) Open(ctx context.Context, p Path) (Tree, error) {
	if !w.paths[p] {
		return nil, fmt.Errorf("open %s: not in the closure: %w", p, fs.ErrNotExist)
	}
	return w.Store.Open(ctx, p)
}

func (w within) List(ctx context.Context) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		for e, err := range w.Store.List(ctx) {
			if err == nil && !w.paths[e.Path] {
				continue
			}
			if !yield(e, err) {
				return
			}
		}
	}
}

// Distant implements Distant.
func (w within) Distant() bool { return IsDistant(w.Store) }

// Prefetch implements Prefetcher.
func (w within) Prefetch(ctx context.Context, paths []Path) {
	Prefetch(ctx, w.Store, slices.DeleteFunc(slices.Clone(paths), func(p Path) bool { return !w.paths[p] }))
}
