package manifest_test

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

	"github.com/nixreg/nixreg/manifest"
	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/storetest"
)

// TestUnreadablePathHidesNoOther: one path whose files cannot be read is left out, and nothing else.
func TestUnreadablePathHidesNoOther(t *testing.T) {
	m, _, hello := withHello()
	bad := addHello(m, "3", machineAMD64)
	src := newSource(t, "", unreadable(m, bad))
	want := slices.Sorted(slices.Values([]string{"2.12.1", hello.Hash(), "latest"}))
	if tags, err := src.Tags(ctx, "hello"); err != nil || !slices.Equal(tags, want) {
		t.Errorf("tags are %v, %v", tags, err)
	}
	if names, err := src.Repositories(ctx); err != nil || !slices.Equal(names, []string{"hello"}) {
		t.Errorf("repositories are %v, %v", names, err)
	}
	if r := inspect(t, src, "hello", "latest"); r.Version != "2.12.1" {
		t.Errorf("latest is %s", r.Version)
	}
	if err := known(newSource(t, "", unreadable(m, bad)), "hello", get(t, src, "hello", "latest").Digest); err != nil {
		t.Errorf("by digest: %v", err)
	}
	if _, err := src.Inspect(ctx, "hello", "3"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the unreadable path: %v", err)
	}
}

// TestPanicInStore: a fault of a store ends one request, never the process. What panics on the caller's own goroutine is
// the HTTP server's to catch, so the stores here panic from the nth question on, wherever that is asked.
func TestPanicInStore(t *testing.T) {
	for name, machines := range map[string][]byte{"one platform": {machineAMD64}, "index": {machineAMD64, machineARM64}} {
		t.Run(name, func(t *testing.T) {
			m := storetest.New()
			for _, machine := range machines {
				addHello(m, "1", machine)
			}
			contained := 0
			for n := int64(0); ; n++ {
				var asked atomic.Int64
				src := newSource(t, "", &faulty{Store: m, object: func(context.Context, store.Path) error {
					if asked.Add(1) > n {
						panic("store is broken")
					}
					return nil
				}})
				err := caught(func() error { _, err := src.Inspect(ctx, "hello", "1"); return err })
				if err == nil {
					break
				}
				if strings.Contains(err.Error(), "panic: store is broken") {
					contained++
				}
			}
			if contained < len(machines) {
				t.Errorf("%d panics became errors", contained)
			}
		})
	}
}

// caught is what the HTTP server makes of a panic.
func caught(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("on the caller's goroutine: %v", v)
		}
	}()
	return f()
}

// TestListingOutlivesItsClient: a listing that one client began goes on when that client leaves, and serves the next.
func TestListingOutlivesItsClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, _, _ := withHello()
		lists, release := 0, make(chan struct{})
		src := newSource(t, "", &faulty{Store: m, list: func(ctx context.Context) error {
			lists++
			select {
			case <-release:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}})
		hasty, leave := context.WithCancel(ctx)
		results := make(chan error, 2)
		for _, client := range []context.Context{hasty, ctx} {
			go func() { _, err := src.Inspect(client, "hello", "latest"); results <- err }()
			synctest.Wait()
		}
		leave()
		if err := <-results; !errors.Is(err, context.Canceled) {
			t.Errorf("the client that left: %v", err)
		}
		close(release)
		if err := <-results; err != nil {
			t.Errorf("the client that stayed: %v", err)
		}
		if lists != 1 {
			t.Errorf("listed %d times", lists)
		}
	})
}

// TestListingServesItsState: while nothing changes, the store is listed once, however often it is asked for names.
func TestListingServesItsState(t *testing.T) {
	m, _, _ := withHello()
	lists := 0
	src := newSource(t, "", &faulty{Store: m, list: func(context.Context) error { lists++; return nil }})
	for range 3 {
		if _, err := src.Tags(ctx, "hello"); err != nil {
			t.Fatal(err)
		}
	}
	if lists != 1 {
		t.Errorf("listed %d times", lists)
	}
}

type lateClient struct{}

// TestLateClientMakesNothing: a client that looked for the image before it was made, and comes to make it afterwards,
// finds it made.
func TestLateClientMakesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, _, _ := withHello()
		release := make(chan struct{})
		cache := &shelf{asked: func(ctx context.Context, key string) {
			if ctx.Value(lateClient{}) != nil && strings.HasPrefix(key, "image/") {
				<-release
			}
		}}
		src, log := logged(t, cache, m)
		late := make(chan error)
		request := manifest.Request{Repository: "hello", Tag: "latest", Accept: first}
		go func() {
			_, err := src.Manifest(context.WithValue(ctx, lateClient{}, true), request)
			late <- err
		}()
		synctest.Wait()
		get(t, src, "hello", "latest")
		close(release)
		if err := <-late; err != nil {
			t.Error(err)
		}
		if log.made() != 1 {
			t.Errorf("made %d times", log.made())
		}
	})
}
