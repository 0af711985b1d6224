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

// refusalTime is how long a Nix that refused is left alone.
const refusalTime = 10 * time.Minute

// troubleTime is how long a key is left alone that Nix could not hold.
const troubleTime = time.Minute

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
	if i < 0 { // of one that is deleted meanwhile Nix does not always say so
		i = slices.IndexFunc(batch, func(p store.Path) bool { return !r.there(p) })
	}
	if i >= 0 {
		return fmt.Errorf("hold %s: %s is not in the store, nor can Nix fetch it: %w", key, batch[i].Abs(), fs.ErrNotExist)
	}
	r.trouble(key, err, t)
	return nil
}

// refusal reports whether Nix lets us hold nothing at all, whatever it is.
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

// trouble logs why Nix did not hold one key.
func (r *Roots) trouble(key string, err error, t *tail) {
	r.o.Log.Warn("Nix does not hold an image: its garbage collector may delete it",
		"key", key, "err", err, "nix-store", strings.Join(t.last(), " | "))
}

// troubled reports whether it is too early to try this key again.
func (r *Roots) troubled(k *rootKey) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !k.trouble.IsZero() && r.now().Sub(k.trouble) < troubleTime
}

// seen reports whether Nix counts our links as roots. A daemon that knows our folder by another name, or not at all, as
// from inside a container, makes no use of them and tells nobody. It is asked once in the life of the process. A daemon
// that does not trust us tells us no names: then we believe it.
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

// gone reports whether nix-store says that it has no p and gets none. The same is said as a heading over several paths.
//
// Source: Nix, libstore/build/entry-points.cc, nix-store/nix-store.cc and libmain/shared.cc, printMissing (seen with 2.8).
func gone(text string, p store.Path) bool {
	listed := false // what follows is a list of those paths
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

func onDisk(p store.Path) bool {
	_, err := os.Lstat(p.Abs())
	return !errors.Is(err, fs.ErrNotExist)
}
