// Package local reads the Nix store of this machine: its files, and Nix's SQLite database of valid paths. It writes
// neither, needs no Nix daemon, and works beside a running Nix, as root or as any user with read permission.
//
//	s, err := local.Open(local.Options{})        // /nix/store
//	s, err := local.Open(local.Options{Root: "/mnt"}) // /mnt/nix/store, whose paths are still named /nix/store/…
//	defer s.Close()
package local

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"

	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/disktree"
)

const (
	stateDir     = "/nix/var/nix"
	databaseFile = "/db/db.sqlite" // below the state
)

// Options choose the store. Directories are absolute.
type Options struct {
	Root  string       // of nix/store and nix/var; "" is the root of the host
	Real  string       // of the files; "" is nix/store below Root
	State string       // of the database db/db.sqlite; "" is nix/var/nix below Root
	Log   *slog.Logger // nil logs nothing
}

// Dir is the directory of the files.
func (o Options) Dir() string { return cmp.Or(o.Real, strings.TrimRight(o.Root, "/")+store.Dir) }

// database is the file of the database.
func (o Options) database() string {
	return cmp.Or(o.State, strings.TrimRight(o.Root, "/")+stateDir) + databaseFile
}

// Store is a store.Store. A process should open each Nix database once: POSIX locks belong to the process, so one Store
// would drop the locks of another one on the same database when it closes a file.
type Store struct {
	dir disktree.Dir // of the store's files
	db  *database
}

// Exists reports whether this machine has a Nix store.
func Exists() bool {
	_, err := os.Stat(Options{}.database())
	return err == nil
}

// Open opens the store in opts. A store without a database gives an error matching [fs.ErrNotExist].
func Open(opts Options) (*Store, error) {
	for _, dir := range []string{opts.Root, opts.Real, opts.State} {
		if dir != "" && !filepath.IsAbs(dir) {
			return nil, fmt.Errorf("open nix store: %.300q is not absolute: %w", dir, fs.ErrInvalid)
		}
	}
	log := opts.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Store{dir: disktree.Dir(opts.Dir()), db: &database{file: opts.database(), log: log}}
	if err := readable(s.db.file); err != nil {
		return nil, fmt.Errorf("open nix store: %w", err)
	}
	probe := func(ctx context.Context, h *handle) error { return nil } // opening reads the schema
	if err := s.db.read(context.Background(), probe); err != nil {
		return nil, fmt.Errorf("open nix store: %s: %w", s.db.file, errors.Join(err, s.db.Close()))
	}
	return s, nil
}

// Close closes the database. Open Trees stay usable.
func (s *Store) Close() error { return s.db.Close() }

// Find implements store.Store.
func (s *Store) Find(ctx context.Context, hash string) (store.Path, error) {
	if !store.IsHash(hash) {
		return "", fmt.Errorf("find %.100q: not a store hash: %w", hash, fs.ErrNotExist)
	}
	var found string
	err := s.db.read(ctx, func(ctx context.Context, h *handle) error {
		prefix := store.Dir + "/" + hash
		return h.find.QueryRowContext(ctx, prefix+"-", prefix+".").Scan(&found) // '.' is what follows '-'
	})
	if err != nil {
		return "", fmt.Errorf("find %s: %w", hash, notExist(err))
	}
	return parsePath(found)
}

// Object implements store.Store.
func (s *Store) Object(ctx context.Context, p store.Path) (*store.Object, error) {
	var r row
	err := s.db.read(ctx, func(ctx context.Context, h *handle) error {
		r = row{} // drops the result of a failed try
		return r.scanObject(h.object.QueryRowContext(ctx, p.Abs()))
	})
	if err != nil {
		return nil, fmt.Errorf("object %s: %w", p, notExist(err))
	}
	return r.object()
}

// Open implements store.Store.
func (s *Store) Open(ctx context.Context, p store.Path) (store.Tree, error) {
	if _, err := s.Object(ctx, p); err != nil {
		return nil, err
	}
	if _, err := s.dir.Lstat(string(p)); err != nil {
		return nil, fmt.Errorf("open %s: valid, but not on disk: %w", p, err)
	}
	return &disktree.Tree{Path: p, Files: s.dir, Base: string(p)}, nil
}

// List implements store.Store. The newest rows come first. Malformed rows are left out with a warning. List reads in batches
// and holds no transaction while the caller works, so it may yield paths that were deleted meanwhile.
func (s *Store) List(ctx context.Context) iter.Seq2[store.Entry, error] {
	return func(yield func(store.Entry, error) bool) {
		below := int64(math.MaxInt64)
		for {
			rows, err := s.batch(ctx, below)
			if err != nil {
				yield(store.Entry{}, fmt.Errorf("list nix store: %w", err))
				return
			}
			for _, r := range rows {
				below = r.id
				e, err := r.entry()
				if err != nil { // one bad row must not hide all other paths
					s.db.log.WarnContext(ctx, "nix database: path left out", "error", err)
					continue
				}
				if !yield(e, nil) {
					return
				}
			}
			if len(rows) < batchSize {
				return
			}
		}
	}
}

// batch returns the next rows with an id below the given one, highest first.
func (s *Store) batch(ctx context.Context, below int64) ([]row, error) {
	var out []row
	err := s.db.read(ctx, func(ctx context.Context, h *handle) error {
		out = out[:0] // drops the result of a failed try
		rows, err := h.list.QueryContext(ctx, below, batchSize)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var r row
			if err := r.scanEntry(rows); err != nil && r.fault == nil {
				return err
			}
			out = append(out, r)
		}
		return rows.Err()
	})
	return out, err
}

// State implements store.Store. It is made of the identities, sizes and times of the database files. File times are coarse:
// two commits in a row may look like one. So the state within a second after a write differs from the later state, and a
// missed commit shows then.
func (s *Store) State(ctx context.Context) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", fmt.Errorf("state of nix store: %w", err)
	}
	l, err := glance(s.db.file)
	if err != nil {
		return "", fmt.Errorf("state of nix store: %v", err) // an absent database is no absent path
	}
	return l.state(), nil
}

func notExist(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("not valid: %w", fs.ErrNotExist)
	}
	return err
}
