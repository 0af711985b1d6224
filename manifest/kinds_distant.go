package manifest

import (
	"context"
	"fmt"

	"nixreg/manifest/layer"
	"nixreg/store"
)

// What is recorded of distant paths, by path and NarHash.
const (
	directoryRecord    = "directory"
	architectureRecord = "architecture"
)

// isDirectory tells what a path of a distant store is. It is opened once, and never again for that.
func (k *pathKinds) isDirectory(ctx context.Context, s store.Store, o *store.Object) (bool, error) {
	if directory, ok := recall(ctx, k, &k.dirs, directoryRecord, layer.RefOf(o)); ok {
		return directory, nil
	}
	t, err := s.Open(ctx, o.Path)
	if err != nil {
		return false, err
	}
	defer t.Close()
	root, err := store.Lookup(ctx, t, "")
	if err != nil {
		return false, fmt.Errorf("look at %s: %w", o.Path, err)
	}
	directory := root.Kind == store.Directory
	return directory, keep(ctx, k, &k.dirs, directoryRecord, layer.RefOf(o), directory)
}

// fetchUnseen begins to fetch those paths that will be opened to see what they are, or which architecture they are for.
// Of several that is done side by side; a single one is fetched when it is opened.
func (k *pathKinds) fetchUnseen(ctx context.Context, s store.Store, objects []*store.Object) {
	if len(objects) < 2 || !store.IsDistant(s) {
		return
	}
	var unseen []store.Path
	for _, o := range objects {
		ref := layer.RefOf(o)
		directory, seen := recall(ctx, k, &k.dirs, directoryRecord, ref)
		if _, ok := recall(ctx, k, &k.archs, architectureRecord, ref); !ok && (directory || !seen) {
			unseen = append(unseen, o.Path)
		}
	}
	store.Prefetch(ctx, s, unseen)
}

func kindKey(what string, ref layer.Ref) string {
	return what + "/" + string(ref.Path) + "/" + ref.NarHash.String()
}

// recall returns what is remembered of a path's contents, by this process or an earlier one.
func recall[V any](ctx context.Context, k *pathKinds, m *memo[layer.Ref, V], what string, ref layer.Ref) (V, bool) {
	v, ok := m.get(ref)
	if !ok && k.records != nil {
		if ok = k.records.get(ctx, kindKey(what, ref), &v) == nil; ok {
			m.put(ref, v)
		}
	}
	return v, ok
}

// keep remembers what was seen of a path's contents.
func keep[V any](ctx context.Context, k *pathKinds, m *memo[layer.Ref, V], what string, ref layer.Ref, v V) error {
	m.put(ref, v)
	if k.records == nil {
		return nil
	}
	return k.records.put(ctx, kindKey(what, ref), v)
}
