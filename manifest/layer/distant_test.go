package layer_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nixreg/nixreg/internal/flight"
	"github.com/nixreg/nixreg/manifest/digests"
	"github.com/nixreg/nixreg/manifest/layer"
	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/storetest"
)

// distant is a store whose answers take a second, and that notes what it is to fetch ahead.
type distant struct {
	*storetest.Memory
	mu    sync.Mutex
	ahead []store.Path
}

func (*distant) Distant() bool { return true }

func (d *distant) Object(ctx context.Context, p store.Path) (*store.Object, error) {
	time.Sleep(time.Second)
	return d.Memory.Object(ctx, p)
}

func (d *distant) Prefetch(_ context.Context, paths []store.Path) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ahead = append(d.ahead, paths...)
}

// A layer of many paths of a cache, whose digest is remembered: what is asked of the cache is asked side by side.
func TestOpenOfADistantLayer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := storetest.New()
		var paths []store.Path
		for i := range 20 {
			paths = append(paths, m.Add(fmt.Sprintf("p%d-1", i), storetest.Files{"f": storetest.File("x")}))
		}
		r, cache := recipe(t, m, paths...), new(digests.Memory)
		open := func(s store.Store) {
			g := flight.NewGroup(ctx)
			defer g.Close()
			maker := &layer.Maker{Store: s, Cache: cache, Group: g, Hashing: &flight.Queue{Running: 1}}
			mustOpen(t, maker, r)
		}
		open(m)
		far, start := &distant{Memory: m}, time.Now()
		open(far)
		if took := time.Since(start); took > time.Second {
			t.Errorf("it took %v to ask for %d paths", took, len(paths))
		}
		if !slices.Equal(far.ahead, paths) {
			t.Errorf("fetched ahead: %v", far.ahead)
		}
	})
}
