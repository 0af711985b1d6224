package store

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// Closure returns the objects of roots and of everything they refer to, each once, sorted by path.
// A reference that is not valid in s gives an error matching [io/fs.ErrNotExist].
func Closure(ctx context.Context, s Store, roots ...Path) ([]*Object, error) {
	seen := make(map[Path]bool)
	var out []*Object
	queue := slices.Clone(roots)
	for len(queue) > 0 {
		p := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		if seen[p] {
			continue
		}
		seen[p] = true
		obj, err := s.Object(ctx, p)
		if err != nil {
			return nil, fmt.Errorf("closure: %w", err)
		}
		out = append(out, obj)
		queue = append(queue, obj.References...)
	}
	slices.SortFunc(out, func(a, b *Object) int { return strings.Compare(string(a.Path), string(b.Path)) })
	return out, nil
}
