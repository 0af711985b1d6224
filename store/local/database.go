package local

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"
	"syscall"
	"time"

	"modernc.org/sqlite"
)

const (
	maxTries = 12 // with waits that double from firstWait to longestWait: one to two seconds together
	// Nix locks its database for a longer time only during an upgrade.
	firstWait   = 5 * time.Millisecond
	longestWait = 250 * time.Millisecond
)

// errMoved is the error of a read during which the files changed.
var errMoved = errors.New("nix database changed while it was read")

// database reads Nix's database in the mode that SQLite permits at the moment. Each read chooses the mode again, because Nix
// may start or stop and the file may be replaced at any time.
type database struct {
	file string
	log  *slog.Logger

	mu     sync.RWMutex // read-locked by each read, locked while the handle is exchanged
	h      *handle
	closed bool
}

// handle is the database opened in one mode.
type handle struct {
	mode               mode
	seen               files // the handle can read these files only (still, copied), or this inode (live)
	db                 *sql.DB
	find, object, list *sql.Stmt
	dir                string      // of a private copy
	rest               *time.Timer // live: closes idle connections
}

// read calls use with a handle. It calls use again if the files changed meanwhile or if SQLite is busy. use must discard
// the result of an earlier call, must leave no rows open, and must return quickly.
func (d *database) read(ctx context.Context, use func(context.Context, *handle) error) error {
	wait := firstWait
	for try := 1; ; try++ {
		err := d.attempt(ctx, use)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !transient(err) {
			return err
		}
		if try == maxTries {
			return fmt.Errorf("gave up after %d attempts: %w", try, err)
		}
		d.log.DebugContext(ctx, "nix database: trying again", "attempt", try, "error", err)
		if err := sleep(ctx, wait); err != nil {
			return err
		}
		wait = min(2*wait, longestWait)
	}
}

func (d *database) attempt(ctx context.Context, use func(context.Context, *handle) error) error {
	before, err := d.settled(ctx)
	if err != nil {
		return opaque(err)
	}
	h, err := d.acquire(ctx, before)
	if err != nil {
		if after, lookErr := look(d.file); lookErr == nil && !before.same(after) {
			return errMoved // an error of SQLite for files that change means nothing
		}
		return err
	}
	defer d.mu.RUnlock()
	err = use(ctx, h)
	if h.rest != nil {
		h.rest.Reset(liveIdle)
	}
	after, lookErr := look(d.file)
	if lookErr != nil {
		return opaque(lookErr)
	}
	if !h.fits(after) {
		return errMoved
	}
	return err
}

// opaque hides the kind of an error about the database's own files: an absent database is no absent path.
func opaque(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%v", err)
	}
	return err
}

// settled looks at the files. If a read will depend on their times, it waits until any write would change a time.
func (d *database) settled(ctx context.Context) (files, error) {
	for range maxTries {
		l, err := look(d.file)
		if err != nil || l.mode() == live || l.settled() {
			return l, err
		}
		if err := sleep(ctx, tick); err != nil {
			return files{}, err
		}
	}
	return files{}, errMoved
}

// acquire returns a handle that fits l, with d.mu read-locked.
func (d *database) acquire(ctx context.Context, l files) (*handle, error) {
	d.mu.RLock()
	if d.h != nil && d.h.mode == l.mode() && d.h.fits(l) {
		return d.h, nil
	}
	d.mu.RUnlock()
	if err := d.exchange(ctx, l); err != nil {
		return nil, err
	}
	d.mu.RLock()
	if d.h != nil && d.h.mode == l.mode() && d.h.fits(l) {
		return d.h, nil
	}
	d.mu.RUnlock() // another read has seen later files
	return nil, errMoved
}

// exchange closes the handle before it opens one that fits l: closing a file drops the POSIX locks of all handles.
func (d *database) exchange(ctx context.Context, l files) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return fs.ErrClosed
	}
	if d.h != nil && d.h.mode == l.mode() && d.h.fits(l) {
		return nil
	}
	if d.h != nil {
		if err := d.h.close(); err != nil {
			d.log.WarnContext(ctx, "nix database: close", "error", err)
		}
		d.h = nil
	}
	h, err := open(ctx, d.file, l)
	if err != nil {
		return err
	}
	if h.mode == copied {
		d.log.InfoContext(ctx, "nix database has a -wal without a -shm: reading a copy", "file", d.file)
	}
	d.h = h
	return nil
}

// Close waits for the end of running reads.
func (d *database) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	h := d.h
	d.h = nil
	if h == nil {
		return nil
	}
	return h.close()
}

// fits reports whether h reads the files that l describes.
func (h *handle) fits(l files) bool {
	if h.mode == live {
		return h.seen.db.dev == l.db.dev && h.seen.db.ino == l.db.ino
	}
	return h.seen.same(l)
}

// transient reports whether another try may succeed. SQLite's errors for files that are created and removed meanwhile
// (cannot open, read-only, short read) are transient.
func transient(err error) bool {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return errors.Is(err, errMoved)
	}
	switch e.Code() & 0xff {
	case sqliteBusy, sqliteLocked, sqliteReadonly, sqliteIOErr, sqliteCantOpen, sqliteProtocol:
		return true
	}
	return false
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// readable returns the reason why this process cannot read a file. It does not open the file: see the type file.
func readable(name string) error {
	const readPermission = 4
	if err := syscall.Access(name, readPermission); err != nil {
		return &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return nil
}
