// Package local reads the Nix store of this machine: its files as they lie on disk, and Nix's own SQLite database,
// which says which of them are valid. It never writes either, needs no Nix daemon, and works beside a Nix that does
// write, for root and for any user who may read the files.
//
//	s, err := local.Open(local.Options{})        // /nix/store
//	s, err := local.Open(local.Options{Root: "/mnt"}) // /mnt/nix/store, whose paths are still named /nix/store/…
//	defer s.Close()
package local

import (
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

const databaseFile = "/nix/var/nix/db/db.sqlite"

// Options say which store.
type Options struct {
	Root string       // the directory in which nix/store and nix/var lie, absolute; "" is the host's own root
	Log  *slog.Logger // nil logs nothing
}

// Store is a store.Store. A process should open each Nix database once: of two Stores on one database, the locks that
// one closes are lost to the other (POSIX locks belong to the process).
type Store struct {
	dir disktree.Dir // of the store's files
	db  *database
}

// Exists reports whether this machine has a Nix store of its own, for those who choose a store by looking.
func Exists() bool {
	_, err := os.Stat(databaseFile)
	return err == nil
}

// Open opens the store in opts. A store without a database gives an error matching [fs.ErrNotExist].
func Open(opts Options) (*Store, error) {
	if opts.Root != "" && !filepath.IsAbs(opts.Root) {
		return nil, fmt.Errorf("open nix store: root %.300q is not absolute: %w", opts.Root, fs.ErrInvalid)
	}
	log := opts.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	root := strings.TrimRight(opts.Root, "/")
	s := &Store{dir: disktree.Dir(root + store.Dir), db: &database{file: root + databaseFile, log: log}}
	if err := readable(s.db.file); err != nil {
		return nil, fmt.Errorf("open nix store: %w", err)
	}
	probe := func(ctx context.Context, h *handle) error { return nil } // opening looks at the schema
	if err := s.db.read(context.Background(), probe); err != nil {
		return nil, fmt.Errorf("open nix store: %s: %w", s.db.file, errors.Join(err, s.db.Close()))
	}
	return s, nil
}

// Close frees the database. Trees that are open stay usable.
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
		r = row{} // of an attempt that failed
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

// List implements store.Store. The newest rows of the database come first; rows that make no sense are left out, with
// a warning. It reads in batches and holds nothing of
// the database while the caller works, so that paths deleted meanwhile may still be listed.
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
		out = out[:0] // of an attempt that failed
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

// State implements store.Store. It is made of the database files' identities, sizes and times. As file times are
// coarse, two commits in a row may look like one: the state of a database that was written within the last second
// differs from the one it has later, so that whoever missed a commit finds it then.
func (s *Store) State(ctx context.Context) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", fmt.Errorf("state of nix store: %w", err)
	}
	l, err := glance(s.db.file)
	if err != nil {
		return "", fmt.Errorf("state of nix store: %v", err) // that the database is gone does not mean that a path is
	}
	return l.state(), nil
}

func notExist(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("not valid: %w", fs.ErrNotExist)
	}
	return err
}
