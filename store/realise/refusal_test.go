package realise_test

import (
	"bytes"
	"errors"
	"io/fs"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/realise"
)

// TestHoldNoDerivations: to realise a derivation is to build it.
func TestHoldNoDerivations(t *testing.T) {
	h := newHand(t, nixStore)
	r := roots(t, realise.RootsOptions{})
	const drv = "22222222222222222222222222222222-hello-1.0.drv"
	for _, paths := range [][]store.Path{{helloPath, drv}, {drv}} {
		if err := r.Hold(t.Context(), "ab", paths); err != nil {
			t.Error(err)
		}
	}
	for _, c := range h.of("--realise") {
		if slices.ContainsFunc(c.Args, func(a string) bool { return strings.HasSuffix(a, ".drv") }) {
			t.Errorf("nix-store %q", c.Args)
		}
	}
	if n := len(h.of("--realise")); n != 1 {
		t.Errorf("%d calls", n)
	}
}

// TestHoldTrouble: what keeps Nix from holding one image keeps it from no other.
func TestHoldTrouble(t *testing.T) {
	h := newHand(t, func(c call) answer {
		if slices.Contains(c.Args, "/nix/store/"+devPath) {
			return answer{Exit: 1, Stderr: "error: HTTP error 500 ('Internal')\n"}
		}
		return nixStore(c)
	})
	var log bytes.Buffer
	r := roots(t, realise.RootsOptions{Log: slog.New(slog.NewTextHandler(&log, nil))})
	r.SetThere(helloPath, devPath)
	now := time.Now()
	r.SetClock(func() time.Time { return now })
	hold := func(key string, p store.Path, calls int) {
		t.Helper()
		if err := r.Hold(t.Context(), key, []store.Path{p}); err != nil {
			t.Error(err)
		}
		if n := len(h.of("--realise")); n != calls {
			t.Errorf("%d calls, want %d", n, calls)
		}
	}
	hold("ab", devPath, 1)
	hold("ab", devPath, 1) // it is left alone for a while
	hold("cd", helloPath, 2)
	now = now.Add(time.Minute + 1)
	hold("ab", devPath, 3)
	if !strings.Contains(log.String(), "HTTP error 500") || !strings.Contains(log.String(), "key=ab") {
		t.Errorf("log:\n%s", log.String())
	}
}

// TestHoldOutOfReach: a cache that cannot be asked does not mean that a path has gone.
func TestHoldOutOfReach(t *testing.T) {
	newHand(t, func(call) answer {
		return answer{Exit: 1, Stderr: "warning: unable to download 'http://x/nix-cache-info': Couldn't connect to server (7)\n" +
			"don't know how to build these paths:\n  /nix/store/" + devPath + "\nerror: build of '/nix/store/" + devPath + "' failed\n"}
	})
	err := roots(t, realise.RootsOptions{}).Hold(t.Context(), "ab", []store.Path{devPath})
	if !errors.Is(err, store.ErrUnavailable) || errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// TestHoldUnseen: links that the daemon cannot see hold nothing.
func TestHoldUnseen(t *testing.T) {
	h := newHand(t, nixStore)
	h.blind.Store(true)
	var log bytes.Buffer
	r := roots(t, realise.RootsOptions{Log: slog.New(slog.NewTextHandler(&log, nil))})
	for _, key := range []string{"ab", "cd"} {
		if err := r.Hold(t.Context(), key, []store.Path{helloPath}); err != nil {
			t.Error(err)
		}
	}
	if n := len(h.of("--realise")); n != 1 || !strings.Contains(log.String(), "does not see") {
		t.Errorf("%d calls; log:\n%s", n, log.String())
	}
}

// TestHoldDeletedMeanwhile: of a path that is deleted while Nix is at it Nix says only that it failed.
func TestHoldDeletedMeanwhile(t *testing.T) {
	h := newHand(t, func(call) answer {
		return answer{Exit: 1, Stderr: "error: build of '/nix/store/" + helloPath + "' failed\n"}
	})
	r := roots(t, realise.RootsOptions{})
	for n := range 2 {
		if err := r.Hold(t.Context(), "ab", []store.Path{helloPath}); !errors.Is(err, fs.ErrNotExist) || len(h.of("--realise")) != n+1 {
			t.Error(err)
		}
	}
}

// TestGoneIsWhatIsListed: what is fetched is not what nobody can build.
func TestGoneIsWhatIsListed(t *testing.T) {
	newHand(t, func(call) answer {
		return answer{Exit: 1, Stderr: "these paths will be fetched:\n  /nix/store/" + helloPath + "\ndon't know how to build these paths:\n  /nix/store/" + devPath + "\nerror: no\n"}
	})
	r := roots(t, realise.RootsOptions{})
	r.SetThere(helloPath, devPath)
	err := r.Hold(t.Context(), "ab", []store.Path{helloPath, devPath})
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), devPath) {
		t.Error(err)
	}
}
