package realise

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/nixreg/nixreg/internal/kv"
	"github.com/nixreg/nixreg/internal/lru"
	"github.com/nixreg/nixreg/store"
)

// Records keeps small values. The loss of one costs a rebuild.
type Records = kv.Store

// rebuilder has the methods of a [Builder] that a Store needs.
type rebuilder interface {
	build(ctx context.Context, attr Attr, system string, again bool) (Built, error)
	outputs(ctx context.Context, attr Attr, system string) ([]store.Path, error)
}

// Store wraps a store and builds its deleted paths again, see [Store.Remember]. Safe for concurrent use. It closes nothing.
type Store struct {
	store.Store
	builder rebuilder
	records Records
	gone    lru.Cache[store.Path, error] // paths that no build makes again
	now     func() time.Time
}

const goneTime = time.Minute

// NewStore wraps inner, the store that b builds into.
func NewStore(inner store.Store, b *Builder, r Records) *Store {
	s := &Store{Store: inner, builder: b, records: r, now: time.Now}
	s.gone.Max, s.gone.TTL, s.gone.Now = resultBytes, goneTime, func() time.Time { return s.now() }
	return s
}

// record has the build that makes a path again, and the contents that the path must have.
type record struct {
	Attr    Attr   `json:"attr"`
	System  string `json:"system"`
	NarHash string `json:"narHash"`
	// Output is an output of that build of Attr; "" in records of earlier versions.
	Output store.Path `json:"output,omitempty"`
}

func recordKey(p store.Path) string { return "realise/" + string(p) }

// Remember records that a build of attr for system gave outputs, whose closure is objects. If an object is deleted, Store builds
// attr again. Errors are those of Records.
func (s *Store) Remember(ctx context.Context, attr Attr, system string, outputs []store.Path, objects []*store.Object) error {
	system, err := checked(attr, system)
	if err != nil {
		return err
	}
	rec := record{Attr: attr, System: system}
	if len(outputs) > 0 {
		rec.Output = outputs[0]
	}
	for _, o := range objects {
		rec.NarHash = o.NarHash.String()
		if err := kv.Write(ctx, s.records, recordKey(o.Path), rec); err != nil {
			return fmt.Errorf("remember %s: %w", o.Path, err)
		}
	}
	return nil
}

// Object implements store.Store.
func (s *Store) Object(ctx context.Context, p store.Path) (*store.Object, error) {
	o, err := s.Store.Object(ctx, p)
	if !errors.Is(err, fs.ErrNotExist) {
		return o, err
	}
	return s.again(ctx, p, err)
}

// Open implements store.Store.
func (s *Store) Open(ctx context.Context, p store.Path) (store.Tree, error) {
	t, err := s.Store.Open(ctx, p)
	if !errors.Is(err, fs.ErrNotExist) {
		return t, err
	}
	if _, err := s.again(ctx, p, err); err != nil {
		return nil, err
	}
	return s.Store.Open(ctx, p)
}

// again builds p again. absent is the error of the inner store.
func (s *Store) again(ctx context.Context, p store.Path, absent error) (*store.Object, error) {
	rec, err := s.record(ctx, p)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, absent
	}
	if err != nil {
		return nil, err
	}
	if err, ok := s.gone.Get(p); ok {
		return nil, err
	}
	o, err := s.rebuilt(ctx, p, rec)
	if err != nil {
		return nil, err
	}
	if err := rec.check(p, o); err != nil {
		s.gone.Put(p, err, int64(len(p)+len(err.Error())))
		return nil, err
	}
	return o, nil
}

// rebuilt builds the attribute that gave p. It returns nil if the attribute no longer gives p. If evaluation shows that, nothing is
// built.
func (s *Store) rebuilt(ctx context.Context, p store.Path, rec record) (*store.Object, error) {
	if rec.Output != "" {
		outputs, err := s.builder.outputs(ctx, rec.Attr, rec.System)
		if err != nil {
			return nil, stays(p, err)
		}
		if len(outputs) > 0 && !slices.Contains(outputs, rec.Output) {
			return nil, nil
		}
	}
	if _, err := s.builder.build(ctx, rec.Attr, rec.System, true); err != nil {
		return nil, stays(p, err)
	}
	o, err := s.Store.Object(ctx, p)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return o, err
}

// goneError is about a path that cannot be built again. It matches [store.ErrExplained]. The public text names only the path: the
// attribute may be text of a definition.
type goneError struct{ text, public string }

func (e *goneError) Error() string  { return e.text }
func (e *goneError) Public() string { return e.public }
func (e *goneError) Unwrap() error  { return store.ErrExplained }

// stays returns the error for a deleted path whose build failed.
func stays(p store.Path, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		public := fmt.Sprintf("%s has gone from the store, and what it was built of, too", p)
		return &goneError{fmt.Sprintf("%s: %v", public, err), public}
	}
	return fmt.Errorf("%s has gone from the store: %w", p, err)
}

// check returns an error unless o is p with its old contents. o is nil if the build did not give p.
func (rec record) check(p store.Path, o *store.Object) error {
	switch {
	case o == nil:
		return &goneError{
			fmt.Sprintf("%s has gone from the store, and %s gives another path now", p, rec.Attr),
			fmt.Sprintf("%s has gone from the store, and its build gives another path now", p),
		}
	case o.NarHash.String() != rec.NarHash:
		text := fmt.Sprintf("%s has gone from the store, and was built again with other contents", p)
		return &goneError{text, text}
	}
	return nil
}

func (s *Store) record(ctx context.Context, p store.Path) (rec record, err error) {
	err = kv.Read(ctx, s.records, recordKey(p), &rec)
	return rec, err
}

// Distant implements store.Distant.
func (s *Store) Distant() bool {
	d, ok := s.Store.(store.Distant)
	return ok && d.Distant()
}

// Prefetch implements store.Prefetcher.
func (s *Store) Prefetch(ctx context.Context, paths []store.Path) {
	if f, ok := s.Store.(store.Prefetcher); ok {
		f.Prefetch(ctx, paths)
	}
}
