package manifest_test

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/nixreg/nixreg/manifest"
	"github.com/nixreg/nixreg/manifest/digests"
	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/storetest"
)

// slowStore takes its time for a listing, and fails in parts.
type slowStore struct {
	store.Store
	noList, noObject, noState atomic.Bool
	objects                   atomic.Int64
	met                       func() // by each Object; may be nil
}

var errOut = fmt.Errorf("out of reach: %w", store.ErrUnavailable)

func (s *slowStore) List(ctx context.Context) iter.Seq2[store.Entry, error] {
	return func(yield func(store.Entry, error) bool) {
		time.Sleep(200 * time.Millisecond)
		if s.noList.Load() {
			yield(store.Entry{}, errOut)
			return
		}
		s.Store.List(ctx)(yield)
	}
}

func (s *slowStore) Object(ctx context.Context, p store.Path) (*store.Object, error) {
	s.objects.Add(1)
	if s.met != nil {
		s.met()
	}
	if s.noObject.Load() {
		return nil, errOut
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return s.Store.Object(ctx, p)
}

func (s *slowStore) State(ctx context.Context) (string, error) {
	if s.noState.Load() {
		return "", errOut
	}
	return s.Store.State(ctx)
}

// TestOldListingIsNoLastingAnswer: a listing may be older than its store for a moment. What is answered by it is not kept.
func TestOldListingIsNoLastingAnswer(t *testing.T) {
	for name, fails := range map[string]bool{"listing is paused": false, "listing fails": true} {
		synctest.Test(t, func(t *testing.T) {
			m, lib, _ := withHello()
			s := &slowStore{Store: m}
			src := withCache(t, new(digests.Memory), s)
			before := get(t, src, "hello", "latest")
			if fails {
				time.Sleep(time.Minute)
			}
			m.Add("hello-3.0", storetest.Files{"bin/hello": elf(machineAMD64)}, lib)
			s.noList.Store(fails)
			get(t, src, "hello", "latest") // by the old listing
			s.noList.Store(false)
			time.Sleep(time.Minute)
			if after := get(t, src, "hello", "latest"); after.Digest == before.Digest {
				t.Errorf("%s: a minute after an update it is still the old one", name)
			}
		})
	}
}

// TestOutagesLeaveNoAnswers: what another store gave while one was out of reach is not kept, nor what one outage gave for the
// next.
func TestOutagesLeaveNoAnswers(t *testing.T) { synctest.Test(t, outagesLeaveNoAnswers) }

func outagesLeaveNoAnswers(t *testing.T) {
	m, lib, hello := withHello()
	other, _, _ := withHello()
	f := storetest.NewFixture("hello-2.12.1", storetest.Files{"bin/hello": elf(machineAMD64), "extra": storetest.File("x")}, lib)
	f.Path = hello
	other.Put(f)
	s := &slowStore{Store: m}
	want := get(t, newSource(t, "", m), "hello", "latest")
	src := withCache(t, new(digests.Memory), s, other)
	s.noObject.Store(true)
	if got := get(t, src, "hello", "latest"); got.Digest == want.Digest {
		t.Fatal("both stores have the same")
	}
	s.noObject.Store(false)
	if got := get(t, src, "hello", "latest"); got.Digest != want.Digest {
		t.Error("the preferred store is back, and the answer is still the other one's")
	}

	empty := storetest.New()
	src = withCache(t, new(digests.Memory), s, empty)
	get(t, src, "hello", "latest")
	s.noState.Store(true)
	old := get(t, src, "hello", "latest")
	s.noState.Store(false)
	m.Add("hello-3.0", storetest.Files{"bin/hello": elf(machineAMD64)}, lib)
	time.Sleep(time.Minute)
	get(t, src, "lib", "latest") // the listing is of today
	s.noState.Store(true)
	if got := get(t, src, "hello", "latest"); got.Digest == old.Digest {
		t.Error("the second outage has the answer of the first")
	}
}

// TestLeavingMakesNothingUnknown: a client that leaves while its blob is opened costs the others nothing.
func TestLeavingMakesNothingUnknown(t *testing.T) {
	m, _, _ := withHello()
	s := &slowStore{Store: m}
	src := withCache(t, new(digests.Memory), s)
	d := get(t, src, "hello", "latest")
	doc, err := v1.ParseManifest(bytes.NewReader(d.Data))
	if err != nil {
		t.Fatal(err)
	}
	within, leave := context.WithCancel(ctx)
	s.met = leave
	if _, err := src.Blob(within, "hello", doc.Layers[0].Digest); err == nil {
		t.Error("a blob for a client that left")
	}
	s.met = nil
	s.objects.Store(0)
	get(t, src, "hello", "latest")
	if n := s.objects.Load(); n != 0 {
		t.Errorf("after one client left, %d paths are looked at again", n)
	}
}

// TestAnswerFollowsTheBuilder: what a builder's source means may change while no store does.
func TestAnswerFollowsTheBuilder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorkshop()
		one := w.store.Add("one-1.0", storetest.Files{"bin/one": elf(machineAMD64)})
		two := w.store.Add("two-1.0", storetest.Files{"bin/two": elf(machineAMD64)})
		means := one
		w.plans["tool"] = func(string) ([]store.Path, error) { return []store.Path{means}, nil }
		dir := t.TempDir()
		write(t, filepath.Join(dir, "defined.yaml"), "- {name: defined, contents: [tool]}")
		src := w.source(t, func(c *manifest.Config) { c.Images = []string{dir} })
		for _, name := range []string{"tool", "defined"} {
			means = one
			time.Sleep(2 * time.Minute)
			before := get(t, src, name, "latest")
			if again := get(t, src, name, "latest"); again.Digest != before.Digest {
				t.Errorf("%s: %s, then %s", name, before.Digest, again.Digest)
			}
			means = two
			time.Sleep(2 * time.Minute)
			if after := get(t, src, name, "latest"); after.Digest == before.Digest {
				t.Errorf("%s: still what the source meant before", name)
			}
		}
	})
}
