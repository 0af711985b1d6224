package realise_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/realise"
)

// nixStore answers as nix-store does: it makes the links.
func nixStore(c call) answer {
	a := answer{Links: make(map[string]string)}
	link := c.Args[2]
	for i, p := range c.Args[4:] {
		name := link
		if i > 0 {
			name = fmt.Sprintf("%s-%d", link, i+1)
		}
		a.Links[name] = p
	}
	return a
}

func roots(t *testing.T, o realise.RootsOptions) *realise.Roots {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	if o.NixStore == "" {
		o.NixStore = self(t)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	r, err := realise.NewRoots(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func links(t *testing.T, dir string) map[string]bool {
	t.Helper()
	out := make(map[string]bool)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		target, err := os.Readlink(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		out[target] = true
	}
	return out
}

func TestHold(t *testing.T) {
	h := newHand(t, nixStore)
	dir := t.TempDir()
	behind := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, behind); err != nil {
		t.Fatal(err)
	}
	r := roots(t, realise.RootsOptions{Dir: behind})
	hold := func(calls int, paths ...store.Path) {
		t.Helper()
		if err := r.Hold(t.Context(), "ab12", paths); err != nil || len(h.of("--realise")) != calls {
			t.Errorf("%v after %d calls, want %d", err, len(h.of("--realise")), calls)
		}
	}
	hold(1, devPath, helloPath, devPath)
	args := h.of("--realise")[0].Args
	want := []string{"--realise", "--add-root", args[2], "--indirect", "/nix/store/" + helloPath, "/nix/store/" + devPath}
	if !slices.Equal(args, want) || filepath.Dir(args[2]) != filepath.Join(dir, "ab12") {
		t.Errorf("arguments %q, want %q below %s", args, want, dir)
	}
	hold(1, helloPath, devPath)
	got := links(t, filepath.Join(dir, "ab12"))
	if len(got) != 2 || !got["/nix/store/"+helloPath] || !got["/nix/store/"+devPath] {
		t.Errorf("links %v", got)
	}
	if err := os.Remove(args[2]); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(args[2] + "-2"); err != nil {
		t.Fatal(err)
	}
	hold(2, helloPath, devPath) // somebody deleted them
	hold(3, helloPath)          // beside the others
	if got := links(t, filepath.Join(dir, "ab12")); len(got) != 2 {
		t.Errorf("links %v", got)
	}
	for _, key := range []string{"", "..", "a/b", "AB", ".old-ab", strings.Repeat("a", 129)} {
		if err := r.Hold(t.Context(), key, []store.Path{helloPath}); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("Hold(%.20q): %v", key, err)
		}
	}
}

func TestHoldMany(t *testing.T) {
	h := newHand(t, nixStore)
	dir := t.TempDir()
	r := roots(t, realise.RootsOptions{Dir: dir})
	var paths []store.Path
	for i := range realise.MaxBatch + 50 {
		paths = append(paths, store.Path(fmt.Sprintf("%032d-p%s", i, strings.Repeat("x", 200))))
	}
	if err := r.Hold(t.Context(), "ab", paths); err != nil {
		t.Fatal(err)
	}
	if calls := h.of("--realise"); len(calls) != 2 || len(calls[0].Args) > realise.MaxBatch+4 {
		t.Errorf("%d calls", len(calls))
	}
	if got := links(t, filepath.Join(dir, "ab")); len(got) != len(paths) {
		t.Errorf("%d links, want %d", len(got), len(paths))
	}
}

func TestHoldGone(t *testing.T) {
	for name, stderr := range map[string]string{
		"2.8":         "don't know how to build these paths:\n  /nix/store/" + devPath + "\nerror: build of '/nix/store/" + devPath + "' failed\n",
		"newer":       "error: path '/nix/store/" + devPath + "' is required, but there is no substituter that can build it\n",
		"unknown":     "error: path '/nix/store/" + devPath + "' does not exist and cannot be created\n",
		"not a valid": "error: path '/nix/store/" + devPath + "' is not valid\n",
	} {
		newHand(t, func(call) answer { return answer{Exit: 1, Stderr: stderr} })
		dir := t.TempDir()
		r := roots(t, realise.RootsOptions{Dir: dir})
		err := r.Hold(t.Context(), "ab", []store.Path{helloPath, devPath})
		if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), devPath) || strings.Contains(err.Error(), helloPath+" ") {
			t.Errorf("%s: %v, want one that names %s", name, err, devPath)
		}
		if entries, _ := os.ReadDir(dir); len(entries) > 0 {
			t.Errorf("%s: a failed Hold leaves %v", name, entries)
		}
	}
}

func TestHoldRefused(t *testing.T) {
	refusal := answer{Exit: 1, Stderr: "error: opening lock file '/nix/var/nix/db/big-lock': Permission denied\n"}
	for name, c := range map[string]struct {
		nixStore string
		answer   func(call) answer
		says     string
	}{
		"absent":   {"nix-store-is-not-here", nil, "there is no nix-store"},
		"refuses":  {"", func(call) answer { return refusal }, "Permission denied"},
		"no links": {"", func(call) answer { return answer{} }, "no such file"},
		"another":  {"", func(c call) answer { return answer{Links: map[string]string{c.Args[2]: "/nix/store/" + devPath}} }, devPath},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHand(t, c.answer)
			var log bytes.Buffer
			r := roots(t, realise.RootsOptions{NixStore: c.nixStore, Log: slog.New(slog.NewTextHandler(&log, nil))})
			now := time.Now()
			r.SetClock(func() time.Time { return now })
			hold := func(calls int) {
				t.Helper()
				if err := r.Hold(t.Context(), "ab", []store.Path{helloPath}); err != nil {
					t.Error(err)
				}
				if n := len(h.of("--realise")); c.answer != nil && n != calls {
					t.Errorf("%d calls, want %d", n, calls)
				}
			}
			hold(1)
			hold(1)
			now = now.Add(10*time.Minute + 1)
			hold(2)
			if n := strings.Count(log.String(), "level=WARN"); n != 1 || !strings.Contains(log.String(), c.says) {
				t.Errorf("%d warnings, want one that says %q:\n%s", n, c.says, log.String())
			}
		})
	}
}

func TestHoldWaits(t *testing.T) {
	calls, release := make(chan call, 9), make(chan struct{})
	newHand(t, func(c call) answer { calls <- c; <-release; return nixStore(c) })
	r := roots(t, realise.RootsOptions{})
	ctx, leave := context.WithCancel(t.Context())
	first, second := make(chan error, 1), make(chan error, 1)
	go func() { first <- r.Hold(ctx, "ab", []store.Path{helloPath}) }()
	<-calls
	w := &waiter{Context: t.Context(), waits: make(chan struct{})}
	go func() { second <- r.Hold(w, "ab", []store.Path{helloPath}) }()
	wait(t, "the second", w.waits)
	leave()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("who left gets %v", err)
	}
	close(release)
	if err := <-second; err != nil || len(calls) > 0 {
		t.Errorf("%v, %d more calls", err, len(calls))
	}
}

// One whose time is over and who asks again, and again, waits for one and the same call of nix-store, which may fetch.
func TestHoldIsNotBegunAnew(t *testing.T) {
	calls, release := make(chan call, 9), make(chan struct{})
	newHand(t, func(c call) answer { calls <- c; <-release; return nixStore(c) })
	r := roots(t, realise.RootsOptions{})
	ask := func(ctx context.Context) <-chan error {
		w, done := &waiter{Context: ctx, waits: make(chan struct{})}, make(chan error, 1)
		go func() { done <- r.Hold(w, "ab", []store.Path{helloPath}) }()
		wait(t, "one who asks", w.waits)
		return done
	}
	for range 3 {
		ctx, end := context.WithCancelCause(t.Context())
		done := ask(ctx)
		end(context.DeadlineExceeded)
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("one whose time is over gets %v", err)
		}
	}
	done := ask(t.Context())
	close(release)
	if err := <-done; err != nil || len(calls) != 1 {
		t.Errorf("%v after %d calls", err, len(calls))
	}
}

func TestHoldClosed(t *testing.T) {
	calls, never := make(chan call, 1), make(chan struct{})
	defer close(never)
	newHand(t, func(c call) answer { calls <- c; <-never; return answer{} })
	r := roots(t, realise.RootsOptions{})
	done := make(chan error, 1)
	go func() { done <- r.Hold(t.Context(), "ab", []store.Path{helloPath}) }()
	c := <-calls
	r.Close()
	wait(t, "the end of nix-store", c.dead)
	if err := <-done; !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("%v", err)
	}
}

func TestSweep(t *testing.T) {
	newHand(t, nixStore)
	dir := t.TempDir()
	var mu sync.Mutex
	now := time.Now()
	clock := func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	advance := func(d time.Duration) { mu.Lock(); defer mu.Unlock(); now = now.Add(d) }
	r := roots(t, realise.RootsOptions{Dir: dir, Keep: 3 * time.Hour})
	r.SetClock(clock)
	for _, key := range []string{"aa", "bb"} {
		if err := r.Hold(t.Context(), key, []store.Path{helloPath}); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{".old-cc", "dd", "Not ours"} { // a sweep that was killed, another run's, and none of these
		if err := os.MkdirAll(filepath.Join(dir, name, "x"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	left := func(r *realise.Roots, want ...string) {
		t.Helper()
		if err := r.Sweep(t.Context()); err != nil {
			t.Error(err)
		}
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, e := range entries {
			got = append(got, e.Name())
		}
		if !slices.Equal(got, want) {
			t.Errorf("left are %q, want %q", got, want)
		}
	}
	left(r, "Not ours", "aa", "bb", "dd")
	advance(2 * time.Hour)
	r.Touch("aa")
	r.Touch("../aa")
	r.Touch("ee") // is not held
	advance(59 * time.Minute)
	r.Touch("aa") // in memory only
	advance(2 * time.Minute)
	left(r, "Not ours", "aa")
	if fi, err := os.Stat(filepath.Join(dir, "aa")); err != nil || clock().Sub(fi.ModTime()).Round(time.Minute) != 61*time.Minute {
		t.Errorf("the folder's time is %v (%v), want that of the first touch", fi.ModTime(), err)
	}
	next := roots(t, realise.RootsOptions{Dir: dir, Keep: 3 * time.Hour}) // remembers by the folder's time
	next.SetClock(clock)
	left(next, "Not ours", "aa")
	advance(140 * time.Minute)
	left(r, "Not ours", "aa") // it remembers the second touch
	left(next, "Not ours")
}

// TestSweepBesideHold sweeps what is being held for the first time in long.
func TestSweepBesideHold(t *testing.T) {
	calls, release := make(chan call, 9), make(chan struct{})
	newHand(t, func(c call) answer { calls <- c; <-release; return nixStore(c) })
	dir := t.TempDir()
	r := roots(t, realise.RootsOptions{Dir: dir, Keep: time.Nanosecond})
	done := make(chan error, 1)
	go func() { done <- r.Hold(t.Context(), "ab", []store.Path{helloPath}) }()
	<-calls
	if err := r.Sweep(t.Context()); err != nil {
		t.Error(err)
	}
	close(release)
	if err := <-done; err != nil || len(links(t, filepath.Join(dir, "ab"))) != 1 {
		t.Errorf("%v", err)
	}
}

// TestHoldBesideFetches: what is there is held while all that has gone is being fetched.
func TestHoldBesideFetches(t *testing.T) {
	calls, release := make(chan call, 9), make(chan struct{})
	newHand(t, func(c call) answer {
		if c.Args[4] != "/nix/store/"+helloPath {
			calls <- c
			<-release
		}
		return nixStore(c)
	})
	r := roots(t, realise.RootsOptions{})
	r.SetThere(helloPath)
	var wg sync.WaitGroup
	for i := range 5 {
		wg.Go(func() {
			if err := r.Hold(t.Context(), fmt.Sprint(i), []store.Path{devPath}); err != nil {
				t.Error(err)
			}
		})
	}
	<-calls
	<-calls
	if err := r.Hold(t.Context(), "ab", []store.Path{helloPath}); err != nil || len(calls) > 0 {
		t.Errorf("%v; %d more are fetched", err, len(calls))
	}
	close(release)
	wg.Wait()
}
