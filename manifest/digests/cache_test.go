package digests

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/nixreg/nixreg/internal/lru"
)

var (
	_ Cache = (*Memory)(nil)
	_ Cache = (*Badger)(nil)
)

// TestCache is the contract of Cache, for every kind there is.
func TestCache(t *testing.T) {
	kinds := map[string]func(t *testing.T) Cache{
		"memory":      func(*testing.T) Cache { return new(Memory) },
		"memory made": func(*testing.T) Cache { return NewMemory(64 << 20) },
		"badger":      func(t *testing.T) Cache { return mustOpen(t, t.TempDir()) },
	}
	for name, open := range kinds {
		t.Run(name, func(t *testing.T) { testCache(t, open(t)) })
	}
}

func testCache(t *testing.T, c Cache) {
	ctx := t.Context()
	if _, err := c.Get(ctx, "absent"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("absent record: %v", err)
	}
	large := strings.Repeat("large", 1<<20)
	records := map[string]string{"": "empty key", "a": "", "link/hello/sha256:1": "x", "!badger!": "y", "\x00\xff": "\x00", "large": large}
	for k, v := range records {
		buf := []byte(v)
		if err := c.Put(ctx, k, buf); err != nil {
			t.Fatal(err)
		}
		clear(buf) // it is the caller's again
	}
	for k, v := range records {
		wantRecord(t, c, k, v)
	}
	got, _ := c.Get(ctx, "link/hello/sha256:1")
	clear(got) // and so is this
	wantRecord(t, c, "link/hello/sha256:1", "x")
	if err := c.Put(ctx, "a", []byte("new")); err != nil {
		t.Fatal(err)
	}
	wantRecord(t, c, "a", "new")

	ended, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := c.Get(ended, "a"); !errors.Is(err, context.Canceled) {
		t.Errorf("get with an ended context: %v", err)
	}
	if err := c.Put(ended, "a", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("put with an ended context: %v", err)
	}
	testCacheTogether(t, c)
}

func testCacheTogether(t *testing.T, c Cache) {
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for n := range 100 {
				k := fmt.Sprint("k", (i+n)%50)
				if err := c.Put(t.Context(), k, []byte("of "+k)); err != nil {
					t.Error(err)
				}
				wantRecord(t, c, k, "of "+k)
			}
		})
	}
	wg.Wait()
}

func wantRecord(t *testing.T, c Cache, key, want string) {
	t.Helper()
	got, err := c.Get(t.Context(), key)
	if err != nil {
		t.Error(err)
		return
	}
	if string(got) != want {
		t.Errorf("record %q is %.40q, want %.40q", key, got, want)
	}
}

func TestMemoryForgetsLeastRecent(t *testing.T) {
	ctx := t.Context()
	m := NewMemory(3 * (lru.Overhead + 11))
	for _, k := range []string{"a", "b", "c"} {
		if err := m.Put(ctx, k, make([]byte, 10)); err != nil {
			t.Fatal(err)
		}
	}
	wantRecord(t, m, "a", string(make([]byte, 10)))
	if err := m.Put(ctx, "d", make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Get(ctx, "b"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the least recently used record is still there: %v", err)
	}
	for _, k := range []string{"a", "c", "d"} {
		wantRecord(t, m, k, string(make([]byte, 10)))
	}
}

func TestMemoryBound(t *testing.T) {
	ctx := t.Context()
	m := NewMemory(10_000)
	r := rand.New(rand.NewPCG(1, 2))
	for range 5000 {
		k := fmt.Sprint(r.IntN(200))
		if err := m.Put(ctx, k, make([]byte, r.IntN(12_000))); err != nil {
			t.Fatal(err)
		}
		var size int64
		m.records.Each(func(k string, v []byte) { size += int64(len(k)+len(v)) + lru.Overhead })
		if size != m.records.Weight() || size > 10_000 {
			t.Fatalf("%d bytes held, %d counted", size, m.records.Weight())
		}
	}
}

// A record that grew beyond the bound must not leave its older value behind.
func TestMemoryTooLarge(t *testing.T) {
	m := NewMemory(1000)
	for _, n := range []int{1, 2000} {
		if err := m.Put(t.Context(), "k", make([]byte, n)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := m.Get(t.Context(), "k"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("get: %v", err)
	}
}
