package realise

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
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
)

// RootsOptions says where roots lie and how long they stay.
type RootsOptions struct {
	Dir      string        // made if absent; what lies in it is ours
	NixStore string        // the command; "nix-store" if empty
	Keep     time.Duration // after the last Hold or Touch; 168 hours if zero
	Timeout  time.Duration // of one call, which may fetch paths; 10 minutes if zero
	Log      *slog.Logger  // slog.Default() if nil
}

// Roots holds store paths against Nix's garbage collector: below its folder lie links to them, one folder a key, which
// Nix knows as indirect roots. Safe for concurrent use, by one process. Whoever makes one closes it.
type Roots struct {
	o       RootsOptions
	command command
	group   *flight.Group
	now     func() time.Time
	there   func(store.Path) bool // on disk
	turns   *flight.Queue         // of what is there
	fetches *flight.Queue         // of what has gone: those may take their whole time, and the others must not wait for them

	mu      sync.Mutex
	keys    map[string]*rootKey
	refused time.Time // when Nix last refused, zero if it does not
	told    bool      // that it refused
	visible bool      // that Nix sees our links
}

// rootKey is what is known of one folder.
type rootKey struct {
	held  map[string]bool // batches that Nix was seen to hold
	used  time.Time
	noted time.Time // when used was last written to the folder
	// trouble is when Nix last failed to hold it, for no reason that is known.
	trouble time.Time
	busy    int // Holds under way
}

// NewRoots makes the folder. A machine without nix-store is no error: see [Roots.Hold].
func NewRoots(o RootsOptions) (*Roots, error) {
	setDefault(&o.NixStore, "nix-store")
	setDefault(&o.Keep, 168*time.Hour)
	setDefault(&o.Timeout, 10*time.Minute)
	setDefault(&o.Log, slog.Default())
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("folder of roots: %w", err)
	}
	dir, err := filepath.EvalSymlinks(o.Dir) // Nix remembers the name it is given
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
		turns:   &flight.Queue{Running: 2, Waiting: maxHoldsWait, Drop: true},
		fetches: &flight.Queue{Running: 2, Waiting: maxHoldsWait, Drop: true},
		keys:    make(map[string]*rootKey),
	}, nil
}

// Close ends the calls under way. What is held stays held.
func (r *Roots) Close() error {
	r.group.Close()
	return nil
}

// Hold returns when Nix holds the closures of paths under key (lower-case hexadecimal digits), having fetched what had gone, if it could.
// It is quick if this process did the same before. A path that is gone for good gives an error matching fs.ErrNotExist that
// names it, one that could not be fetched just now store.ErrUnavailable. Where there is no nix-store, or it lets nobody
// hold anything, that is logged once, and Hold returns nil without holding anything; it tries again 10 minutes later.
// Any other trouble with a key is logged, and that key alone left unheld for a minute. Derivations among paths are held by
// what refers to them: to realise one is to build it. Other errors: [ErrBusy], context errors, store.ErrUnavailable once
// closed.
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
	if r.refuses() || r.troubled(k) {
		return nil
	}
	held, err := once(ctx, r.group, key+" "+name, func(ctx context.Context) (bool, error) {
		return r.realise(ctx, key, name, batch)
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil { // of an error nothing is known: another may hold it meanwhile
		k.held[name] = held
		if !held {
			k.trouble = r.now()
		}
	}
	return err
}

// begin notes that key is used, so that it is not swept away meanwhile, and reports whether the batch was held before.
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

// batchName is the same for the same paths: links of other paths under the same key do not meet.
func batchName(batch []store.Path) string {
	h := sha256.New()
	for _, p := range batch {
		h.Write([]byte(p + "\n"))
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// links are the names nix-store gives to the roots of several paths: root, root-2, root-3.
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

// realise has Nix make the links of one batch, and reports whether it did.
func (r *Roots) realise(ctx context.Context, key, name string, batch []store.Path) (bool, error) {
	turns := r.turns
	if slices.ContainsFunc(batch, func(p store.Path) bool { return !r.there(p) }) {
		turns = r.fetches
	}
	leave, err := enter(ctx, turns)
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
		_ = os.Remove(dir) // if it is empty
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
