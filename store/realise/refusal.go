package realise

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/nixreg/nixreg/store"
)

const (
	refusalTime = 10 * time.Minute // without calls after Nix refused to hold anything
	failedTime  = time.Minute      // without calls for a key that Nix failed to hold
)

func (r *Roots) explain(key string, err error) error {
	if errors.Is(err, context.Canceled) {
		err = errClosed
	}
	return fmt.Errorf("hold %s: %w", key, err)
}

// failed returns an error for a path that has gone, and none for a Nix that refuses: that is logged.
func (r *Roots) failed(key string, batch []store.Path, t *tail, err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return r.explain(key, err)
	}
	text := strings.Join(t.lines(maxLines, maxTail), "\n")
	switch {
	case !ended(err):
		r.refuse(err, t)
		return nil
	case strings.Contains(text, "unable to download"):
		return fmt.Errorf("hold %s: Nix could not fetch it: %s: %w", key, t.line(), store.ErrUnavailable)
	case refusal(text):
		r.refuse(err, t)
		return nil
	}
	i := slices.IndexFunc(batch, func(p store.Path) bool { return gone(text, p) })
	if i < 0 { // Nix does not always name a path that is deleted meanwhile
		i = slices.IndexFunc(batch, func(p store.Path) bool { return !r.there(p) })
	}
	if i >= 0 {
		return fmt.Errorf("hold %s: %s is not in the store, nor can Nix fetch it: %w", key, batch[i].Abs(), fs.ErrNotExist)
	}
	r.o.Log.Warn("Nix does not hold an image: its garbage collector may delete it",
		"key", key, "err", err, "nix-store", strings.Join(t.last(), " | "))
	return nil
}

// refusal reports whether Nix refuses to hold any path.
func refusal(text string) bool {
	for _, s := range []string{
		"cannot connect to daemon", "cannot connect to socket", "cannot open connection", "Connection refused", "Permission denied", "Operation not permitted",
		"Read-only file system", "attempt to write a readonly database", "unrecognised flag", "unrecognised option",
	} {
		if strings.Contains(text, s) {
			return true
		}
	}
	return false
}

// failedLately reports whether it is too early to try this key again.
func (r *Roots) failedLately(k *rootKey) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !k.failed.IsZero() && r.now().Sub(k.failed) < failedTime
}

// seen reports whether Nix counts our links as roots. A daemon that does not see our folder, because one of both runs in a container,
// ignores them silently. Nix is asked once in the life of the process. A daemon that does not trust us hides the names; then seen
// assumes that they are right.
func (r *Roots) seen(ctx context.Context, p store.Path) bool {
	r.mu.Lock()
	known := r.visible
	r.mu.Unlock()
	if known {
		return true
	}
	t := new(tail)
	out, err := r.command.run(ctx, t, "--query", "--roots", p.Abs())
	if err == nil && !strings.Contains(string(out), r.o.Dir+"/") && !strings.Contains(string(out), "{censored") {
		r.refuse(fmt.Errorf("its daemon does not see %s: it must have the folder under the same name", r.o.Dir), t)
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.visible = true
	return true
}

// gone reports whether nix-store says that it neither has p nor can get it. For several paths, it writes that as a heading of a list.
//
// Source: Nix, libstore/build/entry-points.cc, nix-store/nix-store.cc and libmain/shared.cc, printMissing (seen with 2.8).
func gone(text string, p store.Path) bool {
	listed := false // the next lines are such a list
	for l := range strings.SplitSeq(text, "\n") {
		named := strings.Contains(l, p.Abs())
		if strings.Contains(l, "don't know how to build these paths") {
			listed = true
			continue
		}
		listed = listed && strings.HasPrefix(strings.TrimSpace(l), store.Dir+"/")
		switch {
		case named && listed && strings.TrimSpace(l) == p.Abs(),
			named && strings.Contains(l, "no substituter that can build it"),
			named && strings.Contains(l, "does not exist and cannot be created"),
			named && strings.Contains(l, "is not valid"):
			return true
		}
	}
	return false
}

// refuses reports whether it is too early to call Nix again.
func (r *Roots) refuses() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.refused.IsZero() && r.now().Sub(r.refused) < refusalTime
}

// refuse notes that Nix holds nothing, and logs that once.
func (r *Roots) refuse(err error, t *tail) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refused = r.now()
	level := slog.LevelWarn
	if r.logged {
		level = slog.LevelDebug
	}
	r.logged = true
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
	r.refused, r.logged = time.Time{}, false
}

func onDisk(p store.Path) bool {
	_, err := os.Lstat(p.Abs())
	return !errors.Is(err, fs.ErrNotExist)
}
