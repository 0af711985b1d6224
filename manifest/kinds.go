package manifest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"

	"nixreg/manifest/layer"
	"nixreg/store"
)

// maxKinds bounds how many paths' kinds are remembered.
const maxKinds = 200_000

// pathKinds remembers what is seen of store paths: whether one is a directory, whether it has programs, and which
// architecture they are for. Safe for concurrent use.
type pathKinds struct {
	log *slog.Logger
	// records keeps what was seen where paths lie far away: it must be known when they are out of reach. nil otherwise.
	records *records
	kinds   memo[registration, pathKind]
	dirs    memo[layer.Ref, bool] // of distant paths
	archs   memo[layer.Ref, string]
}

// registration is one life of a path: it may be deleted and built again with other contents.
type registration struct {
	path store.Path
	at   int64
}

type pathKind struct{ directory, programs bool }

// of looks at a path that was listed. One that was deleted since, or that cannot be read, is no directory: it must not
// hide the others of its name.
func (k *pathKinds) of(ctx context.Context, s store.Store, e store.Entry) (pathKind, error) {
	key := registration{e.Path, e.Registered}
	if kind, ok := k.kinds.get(key); ok {
		return kind, nil
	}
	kind, err := look(ctx, s, e.Path)
	switch {
	case ctx.Err() != nil:
		return kind, fmt.Errorf("look at %s: %w", e.Path, ctx.Err())
	case errors.Is(err, store.ErrUnavailable):
		return kind, err
	case errors.Is(err, fs.ErrNotExist):
		return pathKind{}, nil
	case err != nil:
		k.log.Warn("store path left out", "path", e.Path, "error", err)
		return pathKind{}, nil
	}
	k.kinds.put(key, kind)
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
		kind, err := k.of(ctx, s, c.Entry)
		if err != nil {
			return nil, err
		}
		if kind.directory {
			out = append(out, c)
		}
	}
	return out, nil
}

// architecture is that of an image of p alone, "" without programs.
func (k *pathKinds) architecture(ctx context.Context, s store.Store, p store.Path) (string, error) {
	o, err := s.Object(ctx, p)
	if err != nil {
		return "", err
	}
	if arch, ok := recall(ctx, k, &k.archs, architectureRecord, layer.RefOf(o)); ok {
		return arch, nil
	}
	closure, err := store.Closure(ctx, s, p)
	if err != nil {
		return "", err
	}
	arch, err := architecture(ctx, store.Within(s, pathsOf(closure)...), []store.Path{p}, closure)
	if err != nil {
		return "", err
	}
	return arch, keep(ctx, k, &k.archs, architectureRecord, layer.RefOf(o), arch)
}

// memo is a map for many goroutines that forgets everything when it has max entries, maxKinds if that is 0. The zero value
// is empty.
type memo[K comparable, V any] struct {
	max    int
	mu     sync.Mutex
	values map[K]V
}

func (m *memo[K, V]) get(key K) (V, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	v, ok := m.values[key]
	return v, ok
}

func (m *memo[K, V]) put(key K, v V) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.values == nil || len(m.values) >= cmp.Or(m.max, maxKinds) {
		m.values = make(map[K]V)
	}
	m.values[key] = v
}
