package binarycache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"nixreg/store"
)

// While a cache is left alone, what is recorded of it is served: narinfo files and archives, after a restart too.
func TestDownServesRecords(t *testing.T) {
	inBubble(t, func(t *testing.T, c *fakeCache, p store.Path, opts Options) {
		spool, err := OpenSpool(SpoolOptions{Dir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		defer spool.Close()
		opts.Spool = spool
		useTree(t, open(t, opts), p)
		for _, age := range []time.Duration{0, 25 * time.Hour} {
			time.Sleep(age)
			s := open(t, opts) // a restart
			c.set(func() { c.fail = store.ErrUnavailable })
			if _, err := s.Find(t.Context(), strings.Repeat("1", store.HashLen)); !errors.Is(err, store.ErrUnavailable) {
				t.Errorf("another path: %v", err)
			}
			c.set(func() { clear(c.count) })
			useTree(t, s, p)
			if len(c.count) > 0 {
				t.Errorf("age %v: asked for %v", age, c.count)
			}
		}
	})
}

func useTree(t *testing.T, s *Store, p store.Path) {
	t.Helper()
	tree, err := s.Open(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	tree.Close()
}

// A dead cache is tried again after growing pauses, however often it is wanted; after an answer they begin anew.
func TestDownPauses(t *testing.T) {
	inBubble(t, func(t *testing.T, c *fakeCache, p store.Path, opts Options) {
		s, start := open(t, opts), time.Now()
		other := strings.Repeat("1", store.HashLen)
		tries := func(seconds int) (at []int) {
			for range seconds {
				_, err := s.Find(t.Context(), other)
				if !errors.Is(err, store.ErrUnavailable) {
					t.Fatal(err)
				}
				if c.asked(cacheInfoName)+c.asked(other+narinfoSuffix) > 0 {
					at = append(at, int(time.Since(start)/time.Second))
				}
				time.Sleep(time.Second)
			}
			return at
		}
		c.set(func() { c.fail = store.ErrUnavailable })
		if got, want := tries(400), []int{0, 5, 15, 35, 75, 155, 275, 395}; !slices.Equal(got, want) {
			t.Errorf("tried after %v seconds", got)
		}
		c.set(func() { c.fail = nil })
		time.Sleep(downMost)
		if !found(t, s, p) {
			t.Error("not found when the cache was back")
		}
		c.set(func() { c.fail = store.ErrUnavailable })
		start = time.Now()
		if got, want := tries(20), []int{0, 5, 15}; !slices.Equal(got, want) {
			t.Errorf("the second time: tried after %v seconds", got)
		}
	})
}

// A cache that is there, and fails for each path, is no better than a dead one.
func TestDownForEachPath(t *testing.T) {
	inBubble(t, func(t *testing.T, c *fakeCache, p store.Path, opts Options) {
		s := open(t, opts)
		x := s.index.(*remote)
		for n := range 3 {
			if err := x.checkInfo(t.Context(), true); err != nil {
				t.Fatal(err)
			}
			x.fail(store.ErrUnavailable, false, strconv.Itoa(n))
		}
		if x.down.pause != 4*downFor {
			t.Errorf("left alone for %v", x.down.pause)
		}
		time.Sleep(downMost)
		if !found(t, s, p) || x.down.pause != 0 {
			t.Errorf("still %v after an answer", x.down.pause)
		}
	})
}

// oneBad is a cache that fails for one narinfo.
type oneBad struct {
	*fakeCache
	name string
}

func (o oneBad) Get(ctx context.Context, name string, limit int64) ([]byte, error) {
	if name == o.name {
		return nil, fmt.Errorf("%s: internal server error: %w", name, store.ErrUnavailable)
	}
	return o.fakeCache.Get(ctx, name, limit)
}

// A narinfo that cannot be had, and that somebody asks for again and again, takes no archive away, and others' narinfo for no
// longer than the shortest pause.
func TestDownForOnePath(t *testing.T) {
	inBubble(t, func(t *testing.T, c *fakeCache, p store.Path, opts Options) {
		bad := strings.Repeat("1", store.HashLen)
		opts.Remote = oneBad{c, bad + narinfoSuffix}
		spool, err := OpenSpool(SpoolOptions{Dir: t.TempDir(), Size: -1})
		if err != nil {
			t.Fatal(err)
		}
		defer spool.Close()
		opts.Spool = spool
		s := open(t, opts)
		if !found(t, s, p) {
			t.Fatal("not found")
		}
		for range 100 {
			s.Find(t.Context(), bad)
			tree, err := s.Open(t.Context(), p)
			if err != nil {
				t.Fatal(err)
			}
			tree.Close()
			if pause := s.index.(*remote).down.pause; pause > downFor {
				t.Fatalf("left alone for %v", pause)
			}
			time.Sleep(2 * downFor)
		}
	})
}

// While one probes a cache that was down, nobody waits: who has an old answer gets that, the prober too.
func TestDownOneProbe(t *testing.T) {
	inBubble(t, func(t *testing.T, c *fakeCache, p store.Path, opts Options) {
		s, other := open(t, opts), strings.Repeat("1", store.HashLen)
		found(t, s, p)
		c.set(func() { c.fail = store.ErrUnavailable })
		s.Find(t.Context(), other)
		for _, first := range []string{other, p.Hash()} {
			time.Sleep(25 * time.Hour)
			c.set(func() { c.gate, c.most, c.count = make(chan struct{}), 0, make(map[string]int) })
			probed := make(chan error, 1)
			go func() {
				_, err := s.Find(context.Background(), first)
				probed <- err
			}()
			synctest.Wait()
			if !found(t, s, p) {
				t.Error("an old answer is not used")
			}
			if _, err := s.Find(t.Context(), strings.Repeat("2", store.HashLen)); !errors.Is(err, store.ErrUnavailable) {
				t.Errorf("another path: %v", err)
			}
			if _, err := s.Open(t.Context(), p); !errors.Is(err, store.ErrUnavailable) {
				t.Errorf("an archive: %v", err)
			}
			if first == p.Hash() && len(probed) == 0 {
				t.Error("the prober waits though there is an old answer")
			}
			close(c.gate)
			if err := <-probed; (err == nil) != (first == p.Hash()) || c.most != 1 || c.asked(cacheInfoName) != 1 {
				t.Errorf("the prober: %v; %d requests at once", err, c.most)
			}
			c.set(func() { c.gate = nil })
			synctest.Wait()
		}
		c.set(func() { c.fail = nil })
		time.Sleep(downMost)
		if _, err := s.Find(t.Context(), other); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("after the cache came back: %v", err)
		}
	})
}

// An archive that cannot be had makes who comes next look at the cache first; a prober that gives up makes room for the next.
func TestDownByArchive(t *testing.T) {
	inBubble(t, func(t *testing.T, c *fakeCache, p store.Path, opts Options) {
		s := open(t, opts)
		x := s.index.(*remote)
		found(t, s, p)
		c.set(func() { c.fail = store.ErrUnavailable; clear(c.count) })
		for range 3 {
			if _, err := s.Open(t.Context(), p); !errors.Is(err, store.ErrUnavailable) {
				t.Error(err)
			}
		}
		if c.asked(cacheInfoName) != 1 || len(c.count) != 2 {
			t.Errorf("asked for %v", c.count)
		}
		time.Sleep(downMost)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		x.ready <- struct{}{} // somebody else is at it
		if _, err := x.Open(ctx, "nar/x"); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		<-x.ready
		c.set(func() { c.fail = nil })
		useTree(t, s, p)
	})
}

// A cache whose nix-cache-info has become something else gives no archives, and loses no narinfo for that.
func TestDownIsNoWordOfAnArchive(t *testing.T) {
	inBubble(t, func(t *testing.T, c *fakeCache, p store.Path, opts Options) {
		found(t, open(t, opts), p)
		c.set(func() { c.files[cacheInfoName].Data = []byte("<html>") })
		s := open(t, opts)
		for range 2 {
			if _, err := s.Open(t.Context(), p); !errors.Is(err, store.ErrUnavailable) || errors.Is(err, ErrCorrupt) {
				t.Error(err)
			}
			if !found(t, s, p) || !found(t, open(t, opts), p) {
				t.Error("its narinfo is lost")
			}
		}
	})
}

// An error names the cache once, and a path once.
func TestRemoteErrors(t *testing.T) {
	inBubble(t, func(t *testing.T, c *fakeCache, p store.Path, opts Options) {
		ask := func(s *Store, open bool) {
			t.Helper()
			_, err := s.Find(t.Context(), strings.Repeat("1", store.HashLen))
			if open {
				_, err = s.Open(t.Context(), p)
			}
			if err == nil || strings.Count(err.Error(), opts.Name) != 1 || strings.Count(err.Error(), string(p)) > 1 {
				t.Error(err)
			}
		}
		ask(open(t, opts), false) // there is none
		s := open(t, opts)
		found(t, s, p)
		c.set(func() { c.fail = fmt.Errorf("%s: no route: %w", opts.Name, store.ErrUnavailable) })
		ask(s, true)
		ask(s, true) // it is down
		s = open(t, Options{Remote: c, Name: opts.Name})
		ask(s, false)
		ask(s, false)
	})
}
