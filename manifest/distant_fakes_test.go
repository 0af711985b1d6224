package manifest_test

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nixreg/nixreg/manifest"
	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/storetest"
)

// distant is a store that lies far away: it counts what is opened, and what is to be fetched ahead. While it is out of
// reach it knows the objects it was asked for before, and no files.
type distant struct {
	*storetest.Memory
	mu     sync.Mutex
	opened []store.Path
	ahead  [][]store.Path
	known  map[store.Path]bool
	waits  map[store.Path]chan struct{} // what Open does not return before it is fetched ahead
	out    bool
}

func far(m *storetest.Memory) *distant {
	return &distant{Memory: m, known: make(map[store.Path]bool), waits: make(map[store.Path]chan struct{})}
}

// wait makes Open wait for Prefetch, which a union hands on when it likes.
func (d *distant) wait(paths ...store.Path) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, p := range paths {
		d.waits[p] = make(chan struct{})
	}
}

func (*distant) Distant() bool { return true }

func (d *distant) Prefetch(_ context.Context, paths []store.Path) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ahead = append(d.ahead, paths)
	for _, p := range paths {
		if c, ok := d.waits[p]; ok {
			close(c)
			delete(d.waits, p)
		}
	}
}

func (d *distant) Object(ctx context.Context, p store.Path) (*store.Object, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.out && !d.known[p] {
		return nil, unreachable("object " + string(p))
	}
	d.known[p] = true
	return d.Memory.Object(ctx, p)
}

func (d *distant) Open(ctx context.Context, p store.Path) (store.Tree, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if c, ok := d.waits[p]; ok {
		d.mu.Unlock()
		select {
		case <-c:
		case <-time.After(time.Minute):
		}
		d.mu.Lock()
		if _, still := d.waits[p]; still {
			return nil, fmt.Errorf("open %s: it was never fetched ahead", p)
		}
	}
	if d.out {
		return nil, unreachable("open " + string(p))
	}
	d.opened = append(d.opened, p)
	return d.Memory.Open(ctx, p)
}

func (d *distant) Find(ctx context.Context, hash string) (store.Path, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.out {
		return "", unreachable("find " + hash)
	}
	return d.Memory.Find(ctx, hash)
}

func (d *distant) List(ctx context.Context) iter.Seq2[store.Entry, error] {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.out {
		return func(yield func(store.Entry, error) bool) { yield(store.Entry{}, unreachable("list")) }
	}
	return d.Memory.List(ctx)
}

// reach puts the store in or out of reach.
func (d *distant) reach(in bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.out = !in
}

// opens returns which paths were opened since the last time, each once.
func (d *distant) opens() []store.Path {
	d.mu.Lock()
	defer d.mu.Unlock()
	opened := slices.Compact(slices.Sorted(slices.Values(d.opened)))
	d.opened = nil
	return opened
}

// fetched returns what was to be fetched ahead: the lists of one call each.
func (d *distant) fetched() [][]store.Path {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.ahead)
}

func unreachable(what string) error {
	return fmt.Errorf("%s: no route: %w", what, store.ErrUnavailable)
}

// fakeChannel is a channel of what a test puts into it.
type fakeChannel struct {
	name     string
	mu       sync.Mutex
	packages []store.Package
	state    int
	err      error
}

func (c *fakeChannel) Name() string { return c.name }

func (c *fakeChannel) Packages(ctx context.Context) iter.Seq2[store.Package, error] {
	return func(yield func(store.Package, error) bool) {
		c.mu.Lock()
		packages, err := c.packages, c.err
		c.mu.Unlock()
		if err != nil {
			yield(store.Package{}, err)
			return
		}
		for _, p := range packages {
			if !yield(p, nil) {
				return
			}
		}
	}
}

func (c *fakeChannel) State(context.Context) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return fmt.Sprint(c.state), nil
}

// set gives the channel other packages, or none and an error.
func (c *fakeChannel) set(err error, packages ...store.Package) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.packages, c.err = packages, err
	c.state++
}

func (c *fakeChannel) add(p store.Path, names ...string) {
	c.packages = append(c.packages, store.Package{Path: p, Names: names})
}

// channelSource makes a Source with an own cache, or the given one.
func channelSource(t *testing.T, cfg manifest.Config) *manifest.Source {
	t.Helper()
	if cfg.Cache == nil {
		cfg.Cache = new(shelf)
	}
	src, err := manifest.NewSource(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { src.Close() })
	return src
}

func stores(s ...store.Store) []store.Store { return s }

func channels(c ...store.Channel) []store.Channel { return c }

// nearby is a store as if it had no other abilities.
type nearby struct{ store.Store }
