package store_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/storetest"
)

// slow is a store each of whose objects takes a round trip.
type slow struct {
	store.Store
	trip       time.Duration
	asked, now atomic.Int64
	most       atomic.Int64           // at the same time
	fail       func(store.Path) error // at once; may be nil
}

func (*slow) Distant() bool { return true }

func (s *slow) Object(ctx context.Context, p store.Path) (*store.Object, error) {
	s.asked.Add(1)
	now := s.now.Add(1)
	defer s.now.Add(-1)
	for m := s.most.Load(); now > m && !s.most.CompareAndSwap(m, now); m = s.most.Load() {
	}
	if s.fail != nil {
		if err := s.fail(p); err != nil {
			return nil, fmt.Errorf("object %s: %w", p, err)
		}
	}
	select {
	case <-time.After(s.trip):
		return s.Store.Object(ctx, p)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// wide is a closure of n paths: a root that refers to all others, which refer to one.
func wide(n int) (m *storetest.Memory, root store.Path, all []store.Path) {
	m = storetest.New()
	base := m.Add("base-1", storetest.Files{})
	all = append(all, base)
	for i := range n - 2 {
		all = append(all, m.Add(fmt.Sprint("lib-", i), storetest.Files{}, base))
	}
	root = m.Add("root-1", storetest.Files{}, all...)
	all = append(all, root)
	slices.Sort(all)
	return m, root, all
}

// TestClosureFromAfar takes about n/32 round trips and gives what it gives of a near store.
func TestClosureFromAfar(t *testing.T) {
	m, root, all := wide(300)
	synctest.Test(t, func(t *testing.T) {
		s := &slow{Store: m, trip: time.Second}
		began := time.Now()
		objs, err := store.Closure(t.Context(), s, root, root)
		if err != nil {
			t.Fatal(err)
		}
		var got []store.Path
		for _, o := range objs {
			got = append(got, o.Path)
		}
		if !slices.Equal(got, all) {
			t.Errorf("%d paths of %d, or not sorted", len(got), len(all))
		}
		if took := time.Since(began); took > 12*time.Second {
			t.Errorf("took %v", took)
		}
		if s.asked.Load() != int64(len(all)) || s.most.Load() != 32 {
			t.Errorf("asked %d times for %d paths, %d at a time", s.asked.Load(), len(all), s.most.Load())
		}
	})
}

// TestObjectsFromAfar: those that are named and no others, as quickly.
func TestObjectsFromAfar(t *testing.T) {
	m, root, all := wide(300)
	synctest.Test(t, func(t *testing.T) {
		s := &slow{Store: m, trip: time.Second}
		began := time.Now()
		objs, err := store.Objects(t.Context(), s, append(all[1:], all[1])...)
		if err != nil || len(objs) != len(all)-1 || objs[0].Path != all[1] {
			t.Errorf("%d objects, %v", len(objs), err)
		}
		if took := time.Since(began); took > 12*time.Second {
			t.Errorf("took %v", took)
		}
		s.asked.Store(0)
		if objs, err := store.Objects(t.Context(), s, root); err != nil || len(objs) != 1 || s.asked.Load() != 1 {
			t.Errorf("%d objects after %d questions, %v", len(objs), s.asked.Load(), err)
		}
	})
}

// TestClosureFromAfarEnds at the first error, whose cause it tells, and when nobody waits any more; and leaves nothing
// running, or the bubble would not end.
func TestClosureFromAfarEnds(t *testing.T) {
	m, root, all := wide(100)
	failing := slices.DeleteFunc(all, func(p store.Path) bool { return p == root })[98] // the first that is asked for after the root
	for name, want := range map[string]error{"gone": fs.ErrNotExist, "out of reach": store.ErrUnavailable, "panic": errors.ErrUnsupported, "left": context.Canceled} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			s := &slow{Store: m, trip: time.Second, fail: func(p store.Path) error {
				if p != failing {
					return nil
				}
				switch name {
				case "panic":
					panic("oops")
				case "left":
					cancel()
					return ctx.Err()
				}
				return want
			}}
			began := time.Now()
			_, err := store.Closure(ctx, s, root)
			if took := time.Since(began); took > s.trip {
				t.Errorf("%s: took %v, with others under way", name, took)
			}
			if name == "panic" {
				if err == nil || !strings.Contains(err.Error(), "oops") {
					t.Errorf("panic: %v", err)
				}
				return
			}
			if !errors.Is(err, want) || s.now.Load() != 0 {
				t.Errorf("%s: %v, %d still asked", name, err, s.now.Load())
			}
		})
	}
}

func BenchmarkClosure(b *testing.B) {
	m, root, _ := wide(300)
	for name, s := range map[string]store.Store{"near": m, "distant": newFar(m)} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := store.Closure(b.Context(), s, root); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
