package manifest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"

	"nixreg/store"
)

// maxKinds bounds how many paths' kinds are remembered.
const maxKinds = 200_000

// pathKinds remembers what never changes of a valid store path: whether it is a directory, whether it has programs,
// and which architecture they are for. The zero value is empty. Safe for concurrent use.
type pathKinds struct {
	mu    sync.Mutex
	kinds map[store.Path]pathKind
	archs map[store.Path]string
}

type pathKind struct{ directory, programs bool }

func (k *pathKinds) of(ctx context.Context, s store.Store, p store.Path) (pathKind, error) {
	k.mu.Lock()
	kind, ok := k.kinds[p]
	k.mu.Unlock()
	if ok {
		return kind, nil
	}
	kind, err := look(ctx, s, p)
	if errors.Is(err, fs.ErrNotExist) { // deleted since it was listed
		return pathKind{}, nil
	}
	if err != nil {
		return kind, fmt.Errorf("look at %s: %w", p, err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.kinds == nil || len(k.kinds) >= maxKinds {
		k.kinds = make(map[store.Path]pathKind)
	}
	k.kinds[p] = kind
	return kind, nil
}

func look(ctx context.Context, s store.Store, p store.Path) (kind pathKind, err error) {
	t, err := s.Open(ctx, p)
	if err != nil {
		return kind, err
	}
	defer t.Close()
	root, err := store.Lookup(ctx, t, "")
	if err != nil || root.Kind != store.Directory {
		return kind, err
	}
	kind.directory = true
	bin, err := store.Lookup(ctx, t, "bin")
	if errors.Is(err, fs.ErrNotExist) {
		return kind, nil
	}
	kind.programs = err == nil && bin.Kind != store.Regular
	return kind, err
}

// directories returns those of the candidates that are directories, in their order.
func (k *pathKinds) directories(ctx context.Context, s store.Store, all []*candidate) ([]*candidate, error) {
	var out []*candidate
	for _, c := range all {
		kind, err := k.of(ctx, s, c.Path)
		if err != nil {
			return nil, err
		}
		if kind.directory {
			out = append(out, c)
		}
	}
	return out, nil
}

// architecture is that of an image of p alone.
func (k *pathKinds) architecture(ctx context.Context, s store.Store, p store.Path) (string, error) {
	k.mu.Lock()
	arch, ok := k.archs[p]
	k.mu.Unlock()
	if ok {
		return arch, nil
	}
	closure, err := store.Closure(ctx, s, p)
	if err != nil {
		return "", err
	}
	if arch, err = architecture(ctx, s, []store.Path{p}, closure); err != nil {
		return "", err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.archs == nil || len(k.archs) >= maxKinds {
		k.archs = make(map[store.Path]string)
	}
	k.archs[p] = arch
	return arch, nil
}
