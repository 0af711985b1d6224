package manifest_test

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nixreg/nixreg/manifest"
	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/storetest"
)

// stated counts how often the state of a store is asked for, and what else is.
type stated struct {
	store.Store
	states, objects atomic.Int64
}

func (s *stated) State(ctx context.Context) (string, error) {
	s.states.Add(1)
	return s.Store.State(ctx)
}

func (s *stated) Object(ctx context.Context, p store.Path) (*store.Object, error) {
	s.objects.Add(1)
	return s.Store.Object(ctx, p)
}

// TestKnownAnswerCostsOneLook: what was verified for a state is not verified again for it. The look at the state stays.
func TestKnownAnswerCostsOneLook(t *testing.T) {
	m, lib, hello := withHello()
	s := &stated{Store: m}
	var gets atomic.Int64
	cache := &shelf{asked: func(context.Context, string) { gets.Add(1) }}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "defined.yaml"), "- {name: defined, contents: [hello]}")
	links := m.Add("links-customisation-layer", storetest.Files{
		"layer.tar": storetest.File("layer"), "checksum": storetest.File(sha256Hex([]byte("layer")) + "\n"),
	}, lib)
	write(t, filepath.Join(dir, "conf.json"), confFor(t, m, lib, map[string]any{"customisation_layer": links.Abs()}))
	src, err := manifest.NewSource(manifest.Config{Stores: []store.Store{s}, Images: []string{dir}, Cache: cache})
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	for _, name := range []string{"hello", "hello/lib", "defined", "conf", "store/" + hello.Hash()} {
		want := get(t, src, name, "latest")
		gets.Store(0)
		s.objects.Store(0)
		s.states.Store(0)
		for range 3 {
			if got := get(t, src, name, "latest"); got.Digest != want.Digest {
				t.Errorf("%s: %s, then %s", name, want.Digest, got.Digest)
			}
		}
		if g, o := gets.Load(), s.objects.Load(); g != 0 || o != 0 {
			t.Errorf("%s: %d records and %d paths were looked at again", name, g, o)
		}
		if n := s.states.Load(); n < 3 {
			t.Errorf("%s: the state was asked for %d times in 3 requests", name, n)
		}
		if err := known(src, name, want.Digest); err != nil {
			t.Fatal(err)
		}
		gets.Store(0)
		if err := known(src, name, want.Digest); err != nil || gets.Load() != 0 {
			t.Errorf("%s by digest: %v, %d records were read again", name, err, gets.Load())
		}
	}
}

// TestAnswerFollowsTheStore: a store that changes is seen by the next request, as soon as it may be listed again.
func TestAnswerFollowsTheStore(t *testing.T) { synctest.Test(t, answerFollowsTheStore) }

func answerFollowsTheStore(t *testing.T) {
	m, lib, hello := withHello()
	src := newSource(t, "", m)
	before := get(t, src, "hello", "latest")
	newer := m.Add("hello-3.0", storetest.Files{"bin/hello": elf(machineAMD64)}, lib)
	time.Sleep(time.Minute)
	after := get(t, src, "hello", "latest")
	if after.Digest == before.Digest {
		t.Errorf("after an update it is %s as before", after.Digest)
	}
	m.Delete(newer)
	time.Sleep(time.Minute)
	if again := get(t, src, "hello", "latest"); again.Digest != before.Digest {
		t.Errorf("after the update is gone: %s, want %s", again.Digest, before.Digest)
	}
	m.Delete(hello)
	time.Sleep(time.Minute)
	_, err := src.Manifest(ctx, manifest.Request{Repository: "hello", Tag: "latest", Accept: first})
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after the package is gone: %v", err)
	}
}

// TestAnswersAreWeighed: what answers take is counted, documents and holdings included.
func TestAnswersAreWeighed(t *testing.T) {
	m, _, _ := withHello()
	k := newKeeper()
	src := k.source(t, new(shelf), m)
	d := get(t, src, "hello", "latest")
	if w := src.AnswersWeight(); w < 2*d.Size {
		t.Errorf("answers weigh %d bytes with manifests of %d in two types", w, d.Size)
	}
}
