package packages

import (
	"context"
	"fmt"

	"github.com/nixreg/nixreg/internal/kv"
	"github.com/nixreg/nixreg/internal/lru"
	"github.com/nixreg/nixreg/store"
)

// What is recorded of distant paths, by path and NarHash.
const (
	directoryRecord    = "directory"
	architectureRecord = "architecture"
)

// isDirectory tells what a path of a distant store is. It is opened once, and never again for that.
func (k *pathKinds) isDirectory(ctx context.Context, s store.Store, o *store.Object) (bool, error) {
	if directory, ok := recall(ctx, k, &k.dirs, directoryRecord, refOf(o)); ok {
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
	return directory, keep(ctx, k, &k.dirs, directoryRecord, refOf(o), directory)
}

// fetchUnseen begins to fetch those paths that will be opened to see what they are, or which architecture they are for.
// Of several that is done side by side; a single one is fetched when it is opened.
func (k *pathKinds) fetchUnseen(ctx context.Context, s store.Store, objects []*store.Object) {
	if len(objects) < 2 || !store.IsDistant(s) {
		return
	}
	var unseen []store.Path
	for _, o := range objects {
		ref := refOf(o)
		directory, seen := recall(ctx, k, &k.dirs, directoryRecord, ref)
		if _, ok := recall(ctx, k, &k.archs, architectureRecord, ref); !ok && (directory || !seen) {
			unseen = append(unseen, o.Path)
		}
	}
	store.Prefetch(ctx, s, unseen)
}

// pathRef is a path together with the hash of what it holds: a path alone does not fix its contents.
type pathRef struct {
	path    store.Path
	narHash store.Hash
}

func refOf(o *store.Object) pathRef { return pathRef{o.Path, o.NarHash} }

// refBytes is the weight of what is remembered of a ref.
func refBytes(ref pathRef) int64 { return int64(len(ref.path) + len(ref.narHash)) }

func kindKey(what string, ref pathRef) string {
	return what + "/" + string(ref.path) + "/" + ref.narHash.String()
}

// recall returns what is remembered of a path's contents, by this process or an earlier one.
func recall[V any](ctx context.Context, k *pathKinds, m *lru.Cache[pathRef, V], what string, ref pathRef) (V, bool) {
	v, ok := m.Get(ref)
	if !ok && k.records != nil {
		if ok = kv.Read(ctx, k.records, kindKey(what, ref), &v) == nil; ok {
			m.Put(ref, v, refBytes(ref))
		}
	}
	return v, ok
}

// keep remembers what was seen of a path's contents.
func keep[V any](ctx context.Context, k *pathKinds, m *lru.Cache[pathRef, V], what string, ref pathRef, v V) error {
	m.Put(ref, v, refBytes(ref))
	if k.records == nil {
		return nil
	}
	return kv.Write(ctx, k.records, kindKey(what, ref), v)
}
