package realise

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nixreg/nixreg/internal/flight"
	"github.com/nixreg/nixreg/store"
)

const (
	maxBatch     = 200 // paths of one call: some 50 KB of arguments
	maxKey       = 128
	maxHoldsWait = 1024

	noteEvery = time.Hour // between two writes of a folder's time of use
	asideMark = ".old-"   // prefix of a folder that is being deleted
)

// RootsOptions are the arguments of [NewRoots].
type RootsOptions struct {
	Dir      string        // made if absent; nobody else writes to it
	NixStore string        // the command; "nix-store" if empty
	Keep     time.Duration // after the last Hold or Touch; 168 hours if zero
	Timeout  time.Duration // of one call, which may fetch paths; 10 minutes if zero
	Log      *slog.Logger  // slog.Default() if nil
}

// Roots holds store paths against Nix's garbage collector by indirect GC roots: links in its folder, in one subfolder for each key.
// Safe for concurrent use, by one process. The caller of [NewRoots] closes it.
type Roots struct {
	o       RootsOptions
	command command
	group   *flight.Group
	now     func() time.Time
	there   func(store.Path) bool // whether a path is on disk
	calls   *flight.Queue         // of calls for paths that are on disk
	fetches *flight.Queue         // of calls that may fetch paths: the others must not wait for them

	mu      sync.Mutex
	keys    map[string]*rootKey
	refused time.Time // when Nix last refused; zero if it does not
	logged  bool      // the refusal was logged
	visible bool      // Nix sees our links
}

// rootKey is the state of one key.
type rootKey struct {
	held   map[string]bool // batches that Nix holds
	used   time.Time
	noted  time.Time // when used was last written to the folder
	failed time.Time // when Nix last failed to hold it for an unknown reason
	busy   int       // running calls of Hold
}

// NewRoots makes the folder. A missing nix-store is no error: see [Roots.Hold].
func NewRoots(o RootsOptions) (*Roots, error) {
	setDefault(&o.NixStore, "nix-store")
	setDefault(&o.Keep, 168*time.Hour)
	setDefault(&o.Timeout, 10*time.Minute)
	setDefault(&o.Log, slog.Default())
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("folder of roots: %w", err)
	}
	dir, err := filepath.EvalSymlinks(o.Dir) // Nix stores the name that it is given
	if err == nil {
		dir, err = filepath.Abs(dir)
	}
	if err != nil {
		return nil, fmt.Errorf("folder of roots: %w", err)
	}
	o.Dir = dir
	return &Roots{
		o:       o,
		command: command{name: o.NixStore, env: environment(os.Environ()), grace: grace},
		group:   flight.NewGroup(context.Background()),
		now:     time.Now,
		there:   onDisk,
		calls:   &flight.Queue{Running: 2, Waiting: maxHoldsWait, Drop: true},
		fetches: &flight.Queue{Running: 2, Waiting: maxHoldsWait, Drop: true},
		keys:    make(map[string]*rootKey),
	}, nil
}

// Close ends the running calls. The GC roots stay.
func (r *Roots) Close() error {
	r.group.Close()
	return nil
}

// Hold returns when Nix holds the closures of paths under key (lower-case hexadecimal digits). Nix fetches paths that have gone, if it
// can. A second call is quick.
//
// A path that is gone for good gives an error matching [fs.ErrNotExist] that names it; one that Nix could not fetch now gives one
// matching [store.ErrUnavailable]. Other errors are [ErrBusy], those of ctx, and store.ErrUnavailable after Close. If there is no
// nix-store, or it cannot hold anything, that is logged once, and Hold returns nil for ten minutes without a try. Any other failure is
// logged, and the key is not tried for a minute. Derivations among paths are skipped, because to realise one is to build it.
func (r *Roots) Hold(ctx context.Context, key string, paths []store.Path) error {
	if !isKey(key) {
		return fmt.Errorf("hold %.100q: not a key: %w", key, fs.ErrInvalid)
	}
	paths = slices.Compact(slices.Sorted(slices.Values(paths)))
	paths = slices.DeleteFunc(paths, func(p store.Path) bool { return strings.HasSuffix(p.Name(), ".drv") })
	for batch := range slices.Chunk(paths, maxBatch) {
		if err := r.hold(ctx, key, batch); err != nil {
			return err
		}
	}
	return nil
}

func isKey(s string) bool {
	return s != "" && len(s) <= maxKey && strings.Trim(s, "0123456789abcdef") == ""
}

func (r *Roots) hold(ctx context.Context, key string, batch []store.Path) error {
	name := batchName(batch)
	k, held := r.begin(key, name)
	defer r.end(k)
	if held && r.verify(key, name, batch) == nil {
		return nil
	}
	if r.refuses() || r.failedLately(k) {
		return nil
	}
	held, err := once(ctx, r.group, key+" "+name, func(ctx context.Context) (bool, error) {
		return r.realise(ctx, key, name, batch)
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil { // after an error, another call may hold it
		k.held[name] = held
		if !held {
			k.failed = r.now()
		}
	}
	return err
}

// begin marks key as used, so that no sweep deletes it. It reports whether Nix holds the batch.
func (r *Roots) begin(key, name string) (*rootKey, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := r.keys[key]
	if k == nil {
		k = &rootKey{held: make(map[string]bool)}
		r.keys[key] = k
	}
	k.busy++
	r.use(key, k)
	return k, k.held[name]
}

func (r *Roots) end(k *rootKey) {
	r.mu.Lock()
	defer r.mu.Unlock()
	k.busy--
}

// batchName is a hash of the paths, so that batches of one key have different links.
func batchName(batch []store.Path) string {
	h := sha256.New()
	for _, p := range batch {
		h.Write([]byte(p + "\n"))
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// links returns the names that nix-store gives to the roots of several paths: root, root-2, root-3.
//
// Source: Nix, nix-store/nix-store.cc, realisePath.
func (r *Roots) links(key, name string, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = filepath.Join(r.o.Dir, key, name)
		if i > 0 {
			out[i] += "-" + strconv.Itoa(i+1)
		}
	}
	return out
}

func (r *Roots) verify(key, name string, batch []store.Path) error {
	for i, link := range r.links(key, name, len(batch)) {
		if target, err := os.Readlink(link); err != nil {
			return fmt.Errorf("root of %s: %w", batch[i], err)
		} else if target != batch[i].Abs() {
			return fmt.Errorf("root of %s: leads to %.200q: %w", batch[i], target, store.ErrChanged)
		}
	}
	return nil
}

// realise lets Nix make the links of one batch, and reports success.
func (r *Roots) realise(ctx context.Context, key, name string, batch []store.Path) (bool, error) {
	calls := r.calls
	if slices.ContainsFunc(batch, func(p store.Path) bool { return !r.there(p) }) {
		calls = r.fetches
	}
	leave, err := enter(ctx, calls)
	if err != nil {
		return false, r.explain(key, err)
	}
	defer leave()
	dir := filepath.Join(r.o.Dir, key)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return false, fmt.Errorf("hold %s: %w", key, err)
	}
	ctx, cancel := context.WithTimeout(ctx, r.o.Timeout)
	defer cancel()
	args := []string{"--realise", "--add-root", filepath.Join(dir, name), "--indirect"}
	for _, p := range batch {
		args = append(args, p.Abs())
	}
	t := new(tail)
	if _, err := r.command.run(ctx, t, args...); err != nil {
		_ = os.Remove(dir) // fails unless it is empty
		return false, r.failed(key, batch, t, err)
	}
	if err := r.verify(key, name, batch); err != nil {
		r.refuse(err, t)
		return false, nil
	}
	if !r.seen(ctx, batch[0]) {
		return false, nil
	}
	r.accept()
	return true, nil
}

// Touch marks key as used: in memory, and at most once an hour by the time of its folder. Unknown keys are ignored.
func (r *Roots) Touch(key string) {
	if !isKey(key) {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	k := r.keys[key]
	if k == nil {
		if fi, err := os.Lstat(filepath.Join(r.o.Dir, key)); err != nil || !fi.IsDir() {
			return
		}
		k = &rootKey{held: make(map[string]bool)}
		r.keys[key] = k
	}
	r.use(key, k)
}

// use is Touch with mu held.
func (r *Roots) use(key string, k *rootKey) {
	k.used = r.now()
	if k.used.Sub(k.noted) < noteEvery {
		return
	}
	if os.Chtimes(filepath.Join(r.o.Dir, key), k.used, k.used) == nil { // else there was no Hold yet
		k.noted = k.used
	}
}

// Run sweeps regularly until ctx ends.
func (r *Roots) Run(ctx context.Context) {
	ticker := time.NewTicker(min(max(r.o.Keep/24, time.Minute), time.Hour))
	defer ticker.Stop()
	for {
		if err := r.Sweep(ctx); err != nil && ctx.Err() == nil {
			r.o.Log.Warn("old GC roots stay", "err", err)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// Sweep deletes the GC roots that were not used for [RootsOptions.Keep], and the remains of an interrupted sweep.
func (r *Roots) Sweep(ctx context.Context) error {
	entries, err := os.ReadDir(r.o.Dir)
	if err != nil {
		return fmt.Errorf("sweep roots: %w", err)
	}
	var errs []error
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("sweep roots: %w", err)
		}
		name := e.Name()
		if isKey(name) && e.IsDir() {
			if name, err = r.aside(name); err != nil {
				errs = append(errs, err)
			}
		}
		if strings.HasPrefix(name, asideMark) {
			errs = append(errs, os.RemoveAll(filepath.Join(r.o.Dir, name)))
		}
	}
	r.forget()
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("sweep roots: %w", err)
	}
	return nil
}

// aside renames the folder of key if it was not used for long, and returns its name. Its roots end at once, and Hold can make new ones
// while it is being deleted.
func (r *Roots) aside(key string) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	dir := filepath.Join(r.o.Dir, key)
	fi, err := os.Lstat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return key, nil
	}
	if err != nil {
		return key, err
	}
	used, k := fi.ModTime(), r.keys[key]
	if k != nil && k.used.After(used) {
		used = k.used
	}
	if k != nil && k.busy > 0 || r.now().Sub(used) < r.o.Keep {
		return key, nil
	}
	// An interrupted sweep may have left that name.
	old := filepath.Join(r.o.Dir, asideMark+key)
	if err := os.RemoveAll(old); err != nil {
		return key, err
	}
	if err := os.Rename(dir, old); err != nil {
		return key, err
	}
	delete(r.keys, key)
	return asideMark + key, nil
}

// forget deletes old keys that never had a folder.
func (r *Roots) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key, k := range r.keys {
		if k.busy == 0 && r.now().Sub(k.used) >= r.o.Keep {
			delete(r.keys, key)
		}
	}
}
