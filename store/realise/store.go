package realise

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"nixreg/store"
)

// Records remembers small values for good; losing them costs a rebuild. A key that is not there gives an error matching fs.ErrNotExist.
type Records interface {
	Get(ctx context.Context, key string) ([]byte, error)
	Put(ctx context.Context, key string, value []byte) error
}

// rebuilder is what a Store needs of a [Builder].
type rebuilder interface {
	build(ctx context.Context, attr Attr, system string, again bool) ([]store.Path, error)
}

// Store is another store in which paths that were built are built again once they have gone: see [Store.Remember]. Safe for
// concurrent use. It closes nothing.
type Store struct {
	store.Store
	builder rebuilder
	records Records
	gone    memo[error] // paths that no build brings back
	now     func() time.Time
}

const goneTime = time.Minute

// NewStore wraps inner, into which b builds.
func NewStore(inner store.Store, b *Builder, r Records) *Store {
	return &Store{Store: inner, builder: b, records: r, gone: memo[error]{max: maxResults}, now: time.Now}
}

// record says what brings a path back, and what it then must be.
type record struct {
	Attr    Attr   `json:"attr"`
	System  string `json:"system"`
	NarHash string `json:"narHash"`
}

func recordKey(p store.Path) string { return "realise/" + string(p) }

// Remember notes that objects, the closure of what [Builder.Build] made of attr for system, come back if that is built again.
func (s *Store) Remember(ctx context.Context, attr Attr, system string, objects []*store.Object) error {
	system, err := checked(attr, system)
	if err != nil {
		return err
	}
	for _, o := range objects {
		value, err := json.Marshal(record{attr, system, o.NarHash.String()})
		if err != nil {
			return fmt.Errorf("remember %s: %w", o.Path, err)
		}
		if err := s.records.Put(ctx, recordKey(o.Path), value); err != nil {
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

// again builds p, which gave the error absent.
func (s *Store) again(ctx context.Context, p store.Path, absent error) (*store.Object, error) {
	rec, err := s.record(ctx, p)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, absent
	}
	if err != nil {
		return nil, err
	}
	if err, ok := s.gone.get(string(p), "", s.now().Add(-goneTime)); ok {
		return nil, err
	}
	if _, err := s.builder.build(ctx, rec.Attr, rec.System, true); err != nil {
		return nil, fmt.Errorf("%s has gone from the store: %w", p, err)
	}
	o, err := s.Store.Object(ctx, p)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err := rec.check(p, o); err != nil {
		s.gone.put(string(p), "", s.now(), err)
		return nil, err
	}
	return o, nil
}

// check says what is wrong with o, which is nil if p did not come back. What was built must be p with the bytes it had.
func (rec record) check(p store.Path, o *store.Object) error {
	switch {
	case o == nil:
		return fmt.Errorf("%s has gone from the store, and %s gives another path now: %w", p, rec.Attr, fs.ErrNotExist)
	case o.NarHash.String() != rec.NarHash:
		return fmt.Errorf("%s has gone from the store, and was built again with other contents: %w", p, fs.ErrNotExist)
	}
	return nil
}

func (s *Store) record(ctx context.Context, p store.Path) (record, error) {
	var rec record
	value, err := s.records.Get(ctx, recordKey(p))
	if err != nil {
		return rec, err
	}
	if err := json.Unmarshal(value, &rec); err != nil {
		return rec, fmt.Errorf("record of %s: %w: %w", p, err, fs.ErrNotExist) // as if it were lost
	}
	return rec, nil
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
