package realise_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/realise"
	"github.com/nixreg/nixreg/store/storetest"
)

// halves is a closure of which a cache has all, and the local store some: top, in no way local, refers to mid and lib; mid
// refers to base and lib.
type halves struct {
	local, cache         *storetest.Memory
	top, mid, lib, base  store.Path
	holder               *realise.Holder
	hand                 *hand
	dir                  string
	refsOfTop, refsOfMid []store.Path
}

func newHalves(t *testing.T, do func(call) answer) *halves {
	h := &halves{local: storetest.New(), cache: storetest.New(), hand: newHand(t, do), dir: t.TempDir()}
	h.base = h.cache.Add("base", file1("base"))
	h.lib = h.cache.Add("lib", file1("lib"))
	h.refsOfMid = []store.Path{h.base, h.lib}
	h.mid = h.cache.Add("mid", file1("mid"), h.refsOfMid...)
	h.refsOfTop = []store.Path{h.mid, h.lib}
	h.top = h.cache.Add("top", file1("top"), h.refsOfTop...)
	all := store.Union(h.local, h.cache)
	h.holder = realise.NewHolder(roots(t, realise.RootsOptions{Dir: h.dir}), h.local, all)
	return h
}

func file1(data string) storetest.Files { return storetest.Files{"": storetest.File(data)} }

func (h *halves) held(t *testing.T, key string) []string {
	t.Helper()
	var got []string
	for _, target := range slices.Sorted(maps.Keys(links(t, filepath.Join(h.dir, key)))) {
		_, name, _ := strings.Cut(strings.TrimPrefix(target, "/nix/store/"), "-")
		got = append(got, name)
	}
	slices.Sort(got)
	return got
}

// TestHolderFrontier: of what a cache has alone, only what the local store has below it is held.
func TestHolderFrontier(t *testing.T) {
	h := newHalves(t, nixStore)
	base := h.local.Add("base", file1("base"))
	lib := h.local.Add("lib", file1("lib"))
	if base != h.base || lib != h.lib {
		t.Fatal("the same path has two names")
	}
	if err := h.holder.Hold(t.Context(), "aa", []store.Path{h.top}); err != nil {
		t.Fatal(err)
	}
	if got := h.held(t, "aa"); !slices.Equal(got, []string{"base", "lib"}) {
		t.Errorf("held %q", got)
	}
	h.local.Add("mid", file1("mid"), h.refsOfMid...) // which has base and lib with it
	if err := h.holder.Hold(t.Context(), "bb", []store.Path{h.top, h.mid, h.top}); err != nil {
		t.Fatal(err)
	}
	if got := h.held(t, "bb"); !slices.Equal(got, []string{"lib", "mid"}) {
		t.Errorf("held %q", got)
	}
}

// TestHolderNothingLocal: then Nix is not asked at all.
func TestHolderNothingLocal(t *testing.T) {
	h := newHalves(t, nixStore)
	if err := h.holder.Hold(t.Context(), "aa", []store.Path{h.top}); err != nil || len(h.hand.of("--realise")) != 0 {
		t.Errorf("%v, %d calls", err, len(h.hand.of("--realise")))
	}
}

// TestHolderRemembers: what is held is not looked for again, unless it has gone.
func TestHolderRemembers(t *testing.T) {
	h := newHalves(t, nixStore)
	h.local.Add("lib", file1("lib"))
	hold := func(err error) {
		t.Helper()
		if got := h.holder.Hold(t.Context(), "aa", []store.Path{h.top}); !errors.Is(got, err) {
			t.Errorf("%v, want %v", got, err)
		}
	}
	hold(nil)
	h.cache.Delete(h.top) // so that asking again would end differently
	hold(nil)
	if calls := len(h.hand.of("--realise")); calls != 1 {
		t.Errorf("%d calls", calls)
	}
	if err := h.holder.Hold(t.Context(), "aa", []store.Path{h.mid}); err != nil { // other paths under the same key
		t.Error(err)
	}
	if err := h.holder.Hold(t.Context(), "aa", []store.Path{h.top, h.mid}); err != nil {
		t.Error(err)
	}
	if got := h.held(t, "aa"); !slices.Equal(got, []string{"lib", "top"}) { // which Nix fetched
		t.Errorf("held %q", got)
	}
}

// TestHolderGone: what no store has is for Nix to fetch, or its refusal is the answer.
func TestHolderGone(t *testing.T) {
	gone := storetest.New().Add("gone", file1("gone"))
	h := newHalves(t, func(c call) answer {
		if slices.Contains(c.Args, gone.Abs()) {
			return answer{Exit: 1, Stderr: fmt.Sprintf("error: path '%s' does not exist and cannot be created\n", gone.Abs())}
		}
		return nixStore(c)
	})
	h.local.Add("lib", file1("lib"))
	if err := h.holder.Hold(t.Context(), "aa", []store.Path{h.lib}); err != nil {
		t.Fatal(err)
	}
	err := h.holder.Hold(t.Context(), "bb", []store.Path{h.lib, gone})
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), gone.Abs()) {
		t.Errorf("%v, want one that names %s", err, gone)
	}
}

// TestHolderGoneElsewhere: what was local and is held no more is not fetched by Nix if a cache has it.
func TestHolderGoneElsewhere(t *testing.T) {
	var deleted atomic.Bool
	h := newHalves(t, func(c call) answer {
		if deleted.Load() {
			return answer{Exit: 1, Stderr: fmt.Sprintf("error: path '%s' is not valid\n", c.Args[4])}
		}
		return nixStore(c)
	})
	h.local.Add("mid", file1("mid"), h.refsOfMid...)
	hold := func(calls int) {
		t.Helper()
		if err := h.holder.Hold(t.Context(), "aa", []store.Path{h.mid}); err != nil || len(h.hand.of("--realise")) != calls {
			t.Errorf("%v after %d calls, want %d", err, len(h.hand.of("--realise")), calls)
		}
	}
	hold(1)
	deleted.Store(true)
	h.local.Delete(h.mid)
	if err := os.RemoveAll(filepath.Join(h.dir, "aa")); err != nil { // a sweep
		t.Fatal(err)
	}
	hold(2) // Nix says that it has gone; the cache has it
	hold(2)
}

// TestHolderUnavailable: what cannot be told is no reason not to serve, and is told once it can be.
func TestHolderUnavailable(t *testing.T) {
	down := &unavailableStore{}
	h := newHalves(t, nixStore)
	local, all := h.local, store.Union(h.local, down)
	h.local.Add("lib", file1("lib"))
	h.local.Add("base", file1("base"))
	holder := realise.NewHolder(roots(t, realise.RootsOptions{Dir: h.dir}), local, all)
	for _, want := range []string{"lib", "base lib"} {
		if err := holder.Hold(t.Context(), "aa", []store.Path{h.lib, h.mid}); err != nil {
			t.Error(err)
		}
		if got := strings.Join(h.held(t, "aa"), " "); got != want {
			t.Errorf("held %q, want %q", got, want)
		}
		down.up = h.cache
	}
}

// unavailableStore cannot be asked until it is up.
type unavailableStore struct {
	store.Store
	up store.Store
}

func (u *unavailableStore) Object(ctx context.Context, p store.Path) (*store.Object, error) {
	if u.up == nil {
		return nil, store.ErrUnavailable
	}
	return u.up.Object(ctx, p)
}

// TestHolderBroken: an error of the local store is one.
func TestHolderBroken(t *testing.T) {
	h := newHalves(t, nixStore)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := h.holder.Hold(ctx, "aa", []store.Path{h.top}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
