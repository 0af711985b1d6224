package packages_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"slices"
	"strings"
	"testing"

	"github.com/nixreg/nixreg/internal/flight"
	"github.com/nixreg/nixreg/manifest/digests"
	"github.com/nixreg/nixreg/manifest/packages"
	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/storetest"
)

// lost is a store, and a channel of no packages, of which a test can have what it likes out of reach.
type lost struct {
	store.Store
	out map[store.Path]error // by what Object is asked for; "" is the rest
}

func (l *lost) Object(ctx context.Context, p store.Path) (*store.Object, error) {
	if err := l.out[p]; err != nil {
		return nil, err
	}
	return l.Store.Object(ctx, p)
}

func (l *lost) Find(ctx context.Context, hash string) (store.Path, error) {
	if err := l.out[""]; err != nil {
		return "", err
	}
	return l.Store.Find(ctx, hash)
}

func (l *lost) Name() string { return "unstable" }

func (l *lost) State(ctx context.Context) (string, error) { return "1", l.out[""] }

func (l *lost) Packages(context.Context) iter.Seq2[store.Package, error] {
	return func(func(store.Package, error) bool) {}
}

var errOut = fmt.Errorf("no route: %w", store.ErrUnavailable)

func catalog(t *testing.T, s store.Store, channels ...store.Channel) *packages.Catalog {
	t.Helper()
	group := flight.NewGroup(context.Background())
	t.Cleanup(group.Close)
	return packages.New(packages.Config{All: s, Stores: []store.Store{s}, Channels: channels, Group: group, Cache: digests.NewMemory(1 << 20)})
}

// catalogOf has several stores.
func catalogOf(t *testing.T, stores ...store.Store) *packages.Catalog {
	t.Helper()
	group := flight.NewGroup(context.Background())
	t.Cleanup(group.Close)
	return packages.New(packages.Config{All: store.Union(stores...), Stores: stores, Group: group, Cache: digests.NewMemory(1 << 20)})
}

// program is for amd64.
var program = storetest.Exec("\x7fELF\x02\x01\x01" + strings.Repeat("\x00", 9) + "\x02\x00\x3e\x00" + strings.Repeat("\x00", 44))

// contents are what a tag's images are made of.
func contents(t *testing.T, c *packages.Catalog, repository, tag string) []store.Path {
	t.Helper()
	images, err := c.Lookup(t.Context(), repository, tag)
	if err != nil {
		t.Fatalf("%s:%s: %v", repository, tag, err)
	}
	var all []store.Path
	for _, m := range images {
		all = append(all, m.Contents...)
	}
	return all
}

// TestEqualsByHash: of paths alike in all, that with the first hash is taken, however many there are and in which order.
func TestEqualsByHash(t *testing.T) {
	m := storetest.New()
	var all []store.Path
	for i := range 40 {
		p := m.Add("x-1", storetest.Files{"share/x": storetest.File(fmt.Sprint(i))})
		m.Edit(p, func(o *store.Object) { o.Registered = 7 })
		all = append(all, p)
	}
	if got := contents(t, catalog(t, m), "x", "latest"); !slices.Equal(got, []store.Path{slices.Min(all)}) {
		t.Errorf("x is %v, not %s", got, slices.Min(all))
	}
}

// TestNoProgramsBesideSome: what has no programs would be an image for amd64, too.
func TestNoProgramsBesideSome(t *testing.T) {
	m := storetest.New()
	m.Add("x-1", storetest.Files{"share/x": storetest.File("")})
	p := m.Add("x-1", storetest.Files{"bin/x": program})
	if got := contents(t, catalog(t, m), "x", "latest"); !slices.Equal(got, []store.Path{p}) {
		t.Errorf("x is %v, not %s alone", got, p)
	}
}

// TestPathsOfABrokenClosure are passed over where there are others; a store that cannot be asked is not.
func TestPathsOfABrokenClosure(t *testing.T) {
	m := storetest.New()
	needed := m.Add("needed-1", storetest.Files{"bin/needed": program})
	broken := m.Add("x-1", storetest.Files{"share/x": storetest.File("")}, needed)
	whole := m.Add("x-1", storetest.Files{"bin/x": program})
	other := m.Add("y-1", storetest.Files{"share/y": storetest.File("")}, needed)
	m.Add("y-1", storetest.Files{"share/y": storetest.File("2")}, needed)

	s := &lost{m, map[store.Path]error{needed: fmt.Errorf("object: %w", fs.ErrNotExist)}}
	if got := contents(t, catalog(t, s), "x", "latest"); !slices.Equal(got, []store.Path{whole}) {
		t.Errorf("x is %v, not %s: %s needs what is gone", got, whole, broken)
	}
	if _, err := catalog(t, s).Lookup(t.Context(), "y", "latest"); !errors.Is(err, fs.ErrNotExist) || packages.IsUnknown(err) {
		t.Errorf("y, of which %s and all others need what is gone: %v", other, err)
	}
	s.out[needed] = errOut
	if _, err := catalog(t, s).Lookup(t.Context(), "x", "latest"); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("x, with a store out of reach: %v", err)
	}
}

// TestOnlyLatest: a store path and several packages have that tag, also to search for a digest.
func TestOnlyLatest(t *testing.T) {
	m := storetest.New()
	p := m.Add("x-1", storetest.Files{"bin/x": program})
	s := &lost{m, map[store.Path]error{}}
	c := catalog(t, s)
	for _, repository := range []string{"store/" + p.Hash(), "x/y"} {
		tags, err := c.Tags(t.Context(), repository)
		newest, failed := c.Newest(t.Context(), repository, 10)
		if err != nil || failed != nil || !slices.Equal(tags, []string{"latest"}) || !slices.Equal(newest, tags) {
			t.Errorf("%s has %v, %v, newest %v, %v", repository, tags, err, newest, failed)
		}
	}
	gone := "store/" + strings.Repeat("0", 32)
	if _, err := c.Tags(t.Context(), gone); !packages.IsUnknown(err) {
		t.Errorf("tags of %s: %v", gone, err)
	}
	s.out[""] = errOut
	if _, err := c.Tags(t.Context(), gone); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("tags of %s, with the store out of reach: %v", gone, err)
	}
}

// TestStateOfChannels: one that cannot be asked has a state too, and any other error is told.
func TestStateOfChannels(t *testing.T) {
	channel := &lost{out: map[store.Path]error{}}
	c := catalog(t, storetest.New(), channel)
	states := make(map[string]bool)
	for _, err := range []error{nil, errOut} {
		channel.out[""] = err
		state, err := c.State(t.Context())
		if err != nil {
			t.Error(err)
		}
		states[state] = true
	}
	if len(states) != 2 {
		t.Errorf("states are %v", states)
	}
	channel.out[""] = fs.ErrPermission
	if _, err := c.State(t.Context()); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("error is %v", err)
	}
}

// sealed is a store far away that nothing can be opened in.
type sealed struct{ store.Store }

func (sealed) Distant() bool { return true }

func (sealed) Open(context.Context, store.Path) (store.Tree, error) { return nil, errOut }

// TestRecordsOfEarlier: what an earlier process saw of distant paths is read where it wrote it.
func TestRecordsOfEarlier(t *testing.T) {
	m := storetest.New()
	p := m.Add("x-1", storetest.Files{"bin/x": program})
	o, err := m.Object(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	cache := digests.NewMemory(1 << 20)
	for what, value := range map[string]string{"directory": "true", "architecture": `"arm64"`} {
		if err := cache.Put(t.Context(), what+"/"+string(p)+"/"+o.NarHash.String(), []byte(value)); err != nil {
			t.Fatal(err)
		}
	}
	group := flight.NewGroup(context.Background())
	defer group.Close()
	s := sealed{m}
	c := packages.New(packages.Config{All: s, Stores: []store.Store{s}, Architectures: []string{"arm64"}, Group: group, Cache: cache})
	if got := contents(t, c, "x", "latest"); !slices.Equal(got, []store.Path{p}) {
		t.Errorf("x is %v, not %s", got, p)
	}
}
