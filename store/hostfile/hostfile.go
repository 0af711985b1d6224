// Package hostfile makes store paths of files and directories outside the Nix store, so that readers of a store can read
// them.
//
// It owns the names and the fingerprints of such paths. Only added files exist; they can be neither found nor listed, so
// that no image gets its name from here. The package must not know archives or images.
//
//	s := new(hostfile.Store)
//	p, err := s.Add("/srv/images/app.tar.gz")
//	obj, err := s.Object(ctx, p) // NarHash changes when the file does
package hostfile

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/disktree"
)

// maxFiles bounds the number of added files.
const maxFiles = 10_000

// Store is a [store.Store]. Its zero value is empty and ready. Safe for concurrent use; there is nothing to close.
type Store struct {
	mu      sync.Mutex
	names   map[store.Path]string // absolute
	state   string                // of all files at the time checked
	checked time.Time             // zero after Add

	checking sync.Mutex // one check at a time
}

// Add makes a file or directory a path of the store and returns that path. The same name always gives the same path; the
// contents may change. A relative name gives an error matching [fs.ErrInvalid], an absent file one matching
// [fs.ErrNotExist]. If there are 10,000 files, those that no longer exist are removed; if all exist, the error matches
// [errors.ErrUnsupported].
func (s *Store) Add(name string) (store.Path, error) {
	if !filepath.IsAbs(name) {
		return "", fmt.Errorf("add %.300q: not an absolute name: %w", name, fs.ErrInvalid)
	}
	name = filepath.Clean(name)
	if _, err := os.Lstat(name); err != nil {
		return "", fmt.Errorf("add: %w", err)
	}
	p, err := pathOf(name)
	if err != nil {
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.names[p] == "" && len(s.names) >= maxFiles {
		maps.DeleteFunc(s.names, func(_ store.Path, name string) bool {
			_, err := os.Lstat(name)
			return errors.Is(err, fs.ErrNotExist)
		})
		if len(s.names) >= maxFiles {
			return "", fmt.Errorf("add %.300q: there are %d files already: %w", name, maxFiles, errors.ErrUnsupported)
		}
	}
	if s.names == nil {
		s.names = make(map[store.Path]string)
	}
	if s.names[p] == "" {
		s.checked = time.Time{}
	}
	s.names[p] = name
	return p, nil
}

// pathOf returns the path of a name. Its hash part is made from the name, not from the contents.
func pathOf(name string) (store.Path, error) {
	sum := sha256.Sum256([]byte(name))
	base := strings.Map(func(r rune) rune {
		if r < 0x80 && (r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' || strings.ContainsRune("+-._?=", r)) {
			return r
		}
		return '_'
	}, filepath.Base(name))
	const longest = 200
	return store.ParsePath(store.EncodeBase32(sum[:20]) + "-file-" + base[:min(len(base), longest)])
}

// Holds reports whether a path was added.
func (s *Store) Holds(p store.Path) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.names[p]
	return ok
}

func (s *Store) name(ctx context.Context, what string, p store.Path) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", fmt.Errorf("%s %s: %w", what, p, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	name, ok := s.names[p]
	if !ok {
		return "", fmt.Errorf("%s %s: %w", what, p, fs.ErrNotExist)
	}
	return name, nil
}

// Find implements store.Store. It finds nothing.
func (s *Store) Find(ctx context.Context, hash string) (store.Path, error) {
	return "", fmt.Errorf("find %.100q: %w", hash, cmp.Or(ctx.Err(), fs.ErrNotExist))
}

// Object implements store.Store. NarHash is not a hash of the contents but a fingerprint, see [fingerprint]. NarSize is
// the size of a file, and 0 for a directory.
func (s *Store) Object(ctx context.Context, p store.Path) (*store.Object, error) {
	name, err := s.name(ctx, "object", p)
	if err != nil {
		return nil, err
	}
	hash, size, err := fingerprint(name)
	if err != nil {
		return nil, fmt.Errorf("object %s: %w", p, nameless(err))
	}
	return &store.Object{Entry: store.Entry{Path: p}, NarHash: hash, NarSize: size, References: []store.Path{}}, nil
}

// nameless removes the file's name from an error that clients may see.
func nameless(err error) error {
	if e := (*fs.PathError)(nil); errors.As(err, &e) {
		return e.Err
	}
	return err
}

// Open implements store.Store. Symbolic links are nodes, as in every tree. No link that appears while the tree is read leads
// out of the added directory.
func (s *Store) Open(ctx context.Context, p store.Path) (store.Tree, error) {
	name, err := s.name(ctx, "open", p)
	if err != nil {
		return nil, err
	}
	fi, err := os.Lstat(name)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", p, nameless(err))
	}
	base := "."
	if !fi.IsDir() {
		name, base = filepath.Dir(name), filepath.Base(name)
	}
	root, err := os.OpenRoot(name)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", p, nameless(err))
	}
	return &disktree.Tree{Path: p, Files: root, Base: base}, nil
}

// List implements store.Store. It always fails.
func (s *Store) List(ctx context.Context) iter.Seq2[store.Entry, error] {
	return func(yield func(store.Entry, error) bool) {
		yield(store.Entry{}, fmt.Errorf("list files: %w", cmp.Or(ctx.Err(), errors.ErrUnsupported)))
	}
}

// checkAgain is how long State returns the last state without a check. A file that has changed meanwhile is noticed by the
// stamp of its node when it is read.
const checkAgain = time.Second

// State implements store.Store. It checks every added file, at most once a second.
func (s *Store) State(ctx context.Context) (string, error) {
	if state, ok := s.lastState(); ok {
		return state, nil
	}
	s.checking.Lock()
	defer s.checking.Unlock()
	if state, ok := s.lastState(); ok { // another request has checked meanwhile
		return state, nil
	}
	s.mu.Lock()
	names, now := slices.Sorted(maps.Values(s.names)), time.Now()
	s.mu.Unlock()
	state, err := stateOf(ctx, names)
	if err != nil {
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.names) == len(names) { // else a file was added that was not checked
		s.state, s.checked = state, now
	}
	return state, nil
}

// lastState returns the last state and whether it is recent.
func (s *Store) lastState() (string, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state, !s.checked.IsZero() && time.Since(s.checked) < checkAgain
}

// stateOf hashes the fingerprints of files.
func stateOf(ctx context.Context, names []string) (string, error) {
	h := sha256.New()
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return "", fmt.Errorf("state of files: %w", err)
		}
		hash, _, err := fingerprint(name)
		fmt.Fprintf(h, "%x %t\n", hash, err == nil)
	}
	return hex.EncodeToString(h.Sum(nil)[:16]), nil
}
