package realise

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	noteEvery = time.Hour // between two writes of when a key was used
	asideMark = ".old-"   // before the name of a folder that is being deleted
)

// Touch notes that what key holds is used, in memory, and in the folder's time at most once an hour. A key that is not
// held is left alone.
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

// use is called with the lock held.
func (r *Roots) use(key string, k *rootKey) {
	k.used = r.now()
	if k.used.Sub(k.noted) < noteEvery {
		return
	}
	if os.Chtimes(filepath.Join(r.o.Dir, key), k.used, k.used) == nil { // it is not there before the first Hold
		k.noted = k.used
	}
}

// Run sweeps now and then until ctx ends.
func (r *Roots) Run(ctx context.Context) {
	ticker := time.NewTicker(min(max(r.o.Keep/24, time.Minute), time.Hour))
	defer ticker.Stop()
	for {
		if err := r.Sweep(ctx); err != nil && ctx.Err() == nil {
			r.o.Log.Warn("roots that are no longer needed stay", "err", err)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// Sweep lets go of all that was not used for as long as [RootsOptions.Keep], and deletes what an earlier sweep left behind.
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

// aside renames the folder of key if it was not used for long: Nix lets go at once, and a Hold can begin anew. It
// returns the folder's name.
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
	// A folder of that name can be left of a sweep that was killed.
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

// forget drops keys that are used no more and never got a folder.
func (r *Roots) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key, k := range r.keys {
		if k.busy == 0 && r.now().Sub(k.used) >= r.o.Keep {
			delete(r.keys, key)
		}
	}
}
