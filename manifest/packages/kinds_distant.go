package packages

import (
	"context"
	"fmt"

	"github.com/nixreg/nixreg/internal/kv"
	"github.com/nixreg/nixreg/internal/lru"
	"github.com/nixreg/nixreg/store"
)

// The records about distant paths. Their keys have the path and the NarHash.
const (
	directoryRecord    = "directory"
	programsRecord     = "programs"
	architectureRecord = "architecture"
)

// isDirectory reports whether a path of a distant store is a directory. It opens the path only once.
func (k *pathKinds) isDirectory(ctx context.Context, s store.Store, o *store.Object) (bool, error) {
	if directory, ok := recall(ctx, k, &k.dirs, directoryRecord, refOf(o)); ok {
		return directory, nil
	}
	kind, err := k.lookDistant(ctx, s, o)
	return kind.directory, err
}

// hasPrograms reports whether a path of a distant store has programs. It opens the path only once.
func (k *pathKinds) hasPrograms(ctx context.Context, s store.Store, o *store.Object) (bool, error) {
	if programs, ok := recall(ctx, k, &k.programs, programsRecord, refOf(o)); ok {
		return programs, nil
	}
	kind, err := k.lookDistant(ctx, s, o)
	return kind.programs, err
}

func (k *pathKinds) lookDistant(ctx context.Context, s store.Store, o *store.Object) (pathKind, error) {
	kind, err := look(ctx, s, o.Path)
	if err != nil {
		return kind, fmt.Errorf("look at %s: %w", o.Path, err)
	}
	err = keep(ctx, k, &k.dirs, directoryRecord, refOf(o), kind.directory)
	if err == nil {
		err = keep(ctx, k, &k.programs, programsRecord, refOf(o), kind.programs)
	}
	return kind, err
}

// fetchUnseen starts to download the paths that isDirectory or architecture will open, at the same time. A single path is downloaded
// when it is opened.
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

// pathRef is a path with its NarHash. The path alone does not determine its contents.
type pathRef struct {
	path    store.Path
	narHash store.Hash
}

func refOf(o *store.Object) pathRef { return pathRef{o.Path, o.NarHash} }

// refBytes returns the weight of a cached fact.
func refBytes(ref pathRef) int64 { return int64(len(ref.path) + len(ref.narHash)) }

func kindKey(what string, ref pathRef) string {
	return what + "/" + string(ref.path) + "/" + ref.narHash.String()
}

// recall returns a cached or recorded fact about the contents of a path.
func recall[V any](ctx context.Context, k *pathKinds, m *lru.Cache[pathRef, V], what string, ref pathRef) (V, bool) {
	v, ok := m.Get(ref)
	if !ok && k.records != nil {
		if ok = kv.Read(ctx, k.records, kindKey(what, ref), &v) == nil; ok {
			m.Put(ref, v, refBytes(ref))
		}
	}
	return v, ok
}

// keep caches and records a fact about the contents of a path.
func keep[V any](ctx context.Context, k *pathKinds, m *lru.Cache[pathRef, V], what string, ref pathRef, v V) error {
	m.Put(ref, v, refBytes(ref))
	if k.records == nil {
		return nil
	}
	return kv.Write(ctx, k.records, kindKey(what, ref), v)
}
