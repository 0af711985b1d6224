package realise

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os/exec"
	"strings"
	"time"

	"nixreg/store"
)

// refusalTime is how long a Nix that refused is left alone.
const refusalTime = 10 * time.Minute

func (r *Roots) explain(key string, err error) error {
	if errors.Is(err, context.Canceled) {
		err = errClosed
	}
	return fmt.Errorf("hold %s: %w", key, err)
}

// failed tells a path that has gone from a Nix that refuses. Of the former Nix says which it is.
func (r *Roots) failed(key string, batch []store.Path, t *tail, err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return r.explain(key, err)
	}
	text := strings.Join(t.lines(maxLines, maxTail), "\n")
	for _, p := range batch {
		if ended(err) && gone(text, p) {
			return fmt.Errorf("hold %s: %s is not in the store, nor can Nix fetch it: %w", key, p.Abs(), fs.ErrNotExist)
		}
	}
	r.refuse(err, t)
	return nil
}

// gone reports whether nix-store says that it has no p and gets none. The same is said as a heading over several paths.
//
// Source: Nix, libstore/build/substitution-goal.cc and libmain/shared.cc, printMissing (messages of 2.8 and 2.31).
func gone(text string, p store.Path) bool {
	for l := range strings.SplitSeq(text, "\n") {
		named := strings.Contains(l, p.Abs())
		switch {
		case named && strings.TrimSpace(l) == p.Abs() && strings.Contains(text, "don't know how to build these paths"),
			named && strings.Contains(l, "no substituter that can build it"),
			named && strings.Contains(l, "does not exist and cannot be created"),
			named && strings.Contains(l, "is not valid"):
			return true
		}
	}
	return false
}

// refuses reports whether it is too early to try again.
func (r *Roots) refuses() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.refused.IsZero() && r.now().Sub(r.refused) < refusalTime
}

// refuse notes that Nix holds nothing here, and says so once.
func (r *Roots) refuse(err error, t *tail) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refused = r.now()
	level := slog.LevelWarn
	if r.told {
		level = slog.LevelDebug
	}
	r.told = true
	reason := err.Error()
	if errors.Is(err, exec.ErrNotFound) {
		reason = "there is no nix-store on this machine"
	}
	r.o.Log.Log(context.Background(), level, "Nix does not hold what is served: its garbage collector may delete it",
		"err", reason, "nix-store", strings.Join(t.last(), " | "))
}

func (r *Roots) accept() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refused, r.told = time.Time{}, false
}
