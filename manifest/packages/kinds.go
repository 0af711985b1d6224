package packages

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"

	"github.com/nixreg/nixreg/internal/lru"
	"github.com/nixreg/nixreg/manifest/digests"
	"github.com/nixreg/nixreg/manifest/program"
	"github.com/nixreg/nixreg/store"
)

// kindBytes bounds each of the caches: about 200,000 paths.
const kindBytes = 64 << 20

// pathKinds caches facts about store paths: whether one is a directory, whether it has programs, and their architecture. Safe for
// concurrent use.
type pathKinds struct {
	log *slog.Logger
	// records keeps the facts about distant paths for the times when their store is unavailable. nil without distant stores.
	records digests.Cache
	kinds   lru.Cache[registration, pathKind]
	// These are about distant paths.
	dirs, programs lru.Cache[pathRef, bool]
	archs          lru.Cache[pathRef, string]
}

func newPathKinds(log *slog.Logger) *pathKinds {
	k := &pathKinds{log: log}
	k.kinds.Max, k.dirs.Max, k.programs.Max, k.archs.Max = kindBytes, kindBytes, kindBytes, kindBytes
	return k
}

// registration is a path as it was registered at one time. A path may be deleted, and built again with other contents.
type registration struct {
	path store.Path
	at   int64
}

type pathKind struct{ directory, programs bool }

// of returns the facts about a listed path. A path that was deleted since or cannot be read counts as no directory, so that it
// does not hide other paths of its name.
func (k *pathKinds) of(ctx context.Context, s store.Store, e store.Entry) (pathKind, error) {
	key := registration{e.Path, e.Registered}
	if kind, ok := k.kinds.Get(key); ok {
		return kind, nil
	}
	kind, err := look(ctx, s, e.Path)
	if err == nil && e.CA != "" && isSource(ctx, s, e.Deriver) {
		kind = pathKind{}
	}
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
	k.kinds.Put(key, kind, int64(len(e.Path)))
	return kind, nil
}

// isSource reports whether the derivation is in the store and has a fixed output.
func isSource(ctx context.Context, s store.Store, deriver store.Path) bool {
	at, nd, err := store.Resolve(ctx, s, deriver.Abs())
	if err != nil || nd.Kind != store.Regular {
		return false // the derivation was deleted, or is in no store
	}
	text, err := store.ReadNode(ctx, s, at, nd, min(nd.Size, store.MaxDerivationHead))
	return err == nil && store.FixedOutput(string(text))
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

// directories returns the candidates that are directories, in their order.
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

// architecture returns the architecture of an image of p alone. It is "" without programs.
func (k *pathKinds) architecture(ctx context.Context, s store.Store, p store.Path) (string, error) {
	o, err := s.Object(ctx, p)
	if err != nil {
		return "", err
	}
	if arch, ok := recall(ctx, k, &k.archs, architectureRecord, refOf(o)); ok {
		return arch, nil
	}
	closure, err := store.Closure(ctx, s, p)
	if err != nil {
		return "", err
	}
	arch, err := program.Architecture(ctx, within(s, closure), []store.Path{p}, closure)
	if err != nil {
		return "", err
	}
	return arch, keep(ctx, k, &k.archs, architectureRecord, refOf(o), arch)
}

// within returns s restricted to a closure.
func within(s store.Store, closure []*store.Object) store.Store {
	paths := make([]store.Path, len(closure))
	for i, o := range closure {
		paths[i] = o.Path
	}
	return store.Within(s, paths...)
}
