package layer_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/nixreg/nixreg/internal/flight"
	"github.com/nixreg/nixreg/manifest/digests"
	"github.com/nixreg/nixreg/manifest/layer"
	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/storetest"
)

// restarted is a maker with the cache of another.
func restarted(t *testing.T, s store.Store, m *layer.Maker) *layer.Maker {
	t.Helper()
	next := newMaker(t, s)
	next.Cache = m.Cache
	return next
}

// verify reads a layer and compares its bytes with its digest.
func verify(m *layer.Maker, r layer.Recipe, info layer.Info) error {
	l, err := m.Open(ctx, r, info.DiffID)
	if err != nil {
		return err
	}
	h := sha256.New()
	if err := l.WriteRange(ctx, h, 0, l.Size()); err != nil {
		return err
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != info.DiffID.Hex {
		return fmt.Errorf("bytes are %s, not %s", got, info.DiffID)
	}
	return nil
}

func describe(t *testing.T, m *layer.Maker, r layer.Recipe) layer.Info {
	t.Helper()
	info, err := m.Describe(ctx, r)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// TestChangedFileAfterRestart: a file with other bytes of the same length is found by its inode, and by its time of
// change alone.
func TestChangedFileAfterRestart(t *testing.T) {
	for _, format := range []layer.Format{layer.StorePaths, layer.Verbatim} {
		for name, change := range map[string]func(m *storetest.Memory, f storetest.Fixture){
			"inode": func(m *storetest.Memory, f storetest.Fixture) { m.Change(f.Path, "layer.tar", "evil") },
			"ctime": func(m *storetest.Memory, f storetest.Fixture) {
				o, _ := m.Object(ctx, f.Path)
				f.Files = storetest.Files{"layer.tar": storetest.File("evil")}
				m.Put(f)
				m.Edit(f.Path, func(x *store.Object) { *x = *o })
			},
		} {
			m := storetest.New()
			f := storetest.NewFixture("a-1", storetest.Files{"layer.tar": storetest.File("good")})
			r := recipe(t, m, m.Put(f))
			r.Format, r.File = format, "layer.tar"
			maker := newMaker(t, m)
			info := describe(t, maker, r)
			change(m, f)
			if err := verify(restarted(t, m, maker), r, info); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s, other %s: %v", format, name, err)
			}
		}
	}
}

// TestPathAddedAgain: a path was deleted and came back with the same contents, in new files.
func TestPathAddedAgain(t *testing.T) {
	m := storetest.New()
	f := storetest.NewFixture("a-1", storetest.Files{"x": storetest.File("x"), "y": storetest.Link("x")})
	f.Registered = 100
	r := recipe(t, m, m.Put(f))
	maker := newMaker(t, m)
	info := describe(t, maker, r)
	if err := verify(maker, r, info); err != nil {
		t.Fatal(err)
	}
	m.Delete(f.Path)
	if err := verify(maker, r, info); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("deleted: %v", err)
	}
	f.Registered = 200
	m.Put(f)
	if err := verify(maker, r, info); err != nil {
		t.Errorf("added again: %v", err)
	}
}

// TestStaleHash: a recipe of contents that the store no longer has is not hashed.
func TestStaleHash(t *testing.T) {
	m, odd, _ := oddStore()
	for name, spoil := range map[string]func(r *layer.Recipe){
		"object": func(r *layer.Recipe) { r.Objects[0].NarHash[0] ^= 1 },
		"via":    func(r *layer.Recipe) { r.Via = []layer.Ref{{Path: odd}} },
	} {
		r := recipe(t, m, odd)
		spoil(&r)
		if info, err := newMaker(t, m).Describe(ctx, r); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v, %v", name, info.DiffID, err)
		}
	}
}

// TestLinkedContent: a content that is a link takes its names from another path. Its layer needs that path to be in the
// recipe, and is gone when the path holds something else.
func TestLinkedContent(t *testing.T) {
	m := storetest.New()
	dir := m.Add("dir-1", storetest.Files{"sub/file": storetest.File("")})
	link := m.Add("link-1", storetest.Files{"": storetest.Link(dir.Abs() + "/sub")}, dir)
	r := recipe(t, m, link)
	r.Format = layer.Symlinks
	if _, err := newMaker(t, m).Describe(ctx, r); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without the other path: %v", err)
	}
	r.Via = recipe(t, m, link, dir).Objects
	maker := newMaker(t, m)
	info := describe(t, maker, r)
	if err := verify(maker, r, info); err != nil {
		t.Error(err)
	}
	m.Edit(dir, func(o *store.Object) { o.NarHash[0] ^= 1 })
	for name, after := range map[string]*layer.Maker{"same process": maker, "restart": restarted(t, m, maker)} {
		if err := verify(after, r, info); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// meeting is a cache that calls met with each key that was asked for and what was found; met may exchange it.
type meeting struct {
	digests.Cache
	met func(ctx context.Context, value []byte) []byte
}

func (c *meeting) Get(ctx context.Context, key string) ([]byte, error) {
	value, err := c.Cache.Get(ctx, key)
	return c.met(ctx, value), err
}

// TestHashedMeanwhile: between the look at the files and the look at the record another hashed other files. The digest is
// not that of the files that were looked at then, even if it is the one that is wanted.
func TestHashedMeanwhile(t *testing.T) {
	m, odd, _ := oddStore()
	maker := newMaker(t, m)
	r := recipe(t, m, odd)
	info := describe(t, maker, r)
	asked := 0
	next := restarted(t, m, maker)
	next.Cache = &meeting{Cache: maker.Cache, met: func(_ context.Context, value []byte) []byte {
		asked++
		other := info
		other.Stamp = fmt.Sprint("of other files ", asked)
		b, err := json.Marshal(other)
		if err != nil {
			t.Error(err)
		}
		return b
	}}
	if _, err := next.Open(ctx, r, info.DiffID); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a record of other files: %v", err)
	}
}

type lateClient struct{}

// TestLateClientHashesNothing: a client that looked for the digest before it was there, and comes to hash afterwards,
// finds it hashed.
func TestLateClientHashesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, odd, _ := oddStore()
		maker := newMaker(t, m)
		release := make(chan struct{})
		maker.Cache = &meeting{Cache: maker.Cache, met: func(ctx context.Context, value []byte) []byte {
			if ctx.Value(lateClient{}) != nil {
				<-release
			}
			return value
		}}
		hashed := make(chan int64, 1000)
		maker.Progress = func(n int64) { hashed <- n }
		r := recipe(t, m, odd)
		late := make(chan error)
		go func() {
			_, err := maker.Describe(context.WithValue(ctx, lateClient{}, true), r)
			late <- err
		}()
		synctest.Wait()
		info := describe(t, maker, r)
		close(release)
		if err := <-late; err != nil {
			t.Error(err)
		}
		close(hashed)
		total := int64(0)
		for n := range hashed {
			total += n
		}
		if total != info.Size {
			t.Errorf("%d bytes were hashed of a layer of %d", total, info.Size)
		}
	})
}

// slow is a store whose files are read when they are let go, one for each value in gate.
type slow struct {
	store.Store
	reading chan struct{}
	gate    chan struct{}
}

type slowTree struct {
	store.Tree
	s *slow
}

func (s *slow) Open(ctx context.Context, p store.Path) (store.Tree, error) {
	t, err := s.Store.Open(ctx, p)
	return slowTree{t, s}, err
}

func (t slowTree) WriteFile(ctx context.Context, w io.Writer, nd store.Node, off, n int64) error {
	t.s.reading <- struct{}{}
	<-t.s.gate
	return t.Tree.WriteFile(ctx, w, nd, off, n)
}

// TestHashingIsBounded: of many layers, as many are hashed at the same time as the bound allows.
func TestHashingIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const layers, bound = 5, 2
		m := storetest.New()
		s := &slow{Store: m, reading: make(chan struct{}, layers), gate: make(chan struct{})}
		maker := newMaker(t, s)
		maker.Hashing = &flight.Queue{Running: bound}
		results := make(chan error, layers)
		for i := range layers {
			r := recipe(t, m, m.Add(fmt.Sprint("a-", i), storetest.Files{"x": storetest.File(strings.Repeat("x", i+1))}, storetest.Self))
			go func() { _, err := maker.Describe(ctx, r); results <- err }()
		}
		synctest.Wait()
		if n := len(s.reading); n != bound {
			t.Errorf("%d layers are hashed at the same time", n)
		}
		close(s.gate)
		for range layers {
			if err := <-results; err != nil {
				t.Error(err)
			}
		}
	})
}
