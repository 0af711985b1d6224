package local

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

const (
	sqliteBusy     = sqlite3.SQLITE_BUSY
	sqliteLocked   = sqlite3.SQLITE_LOCKED
	sqliteReadonly = sqlite3.SQLITE_READONLY
	sqliteIOErr    = sqlite3.SQLITE_IOERR
	sqliteCantOpen = sqlite3.SQLITE_CANTOPEN
	sqliteProtocol = sqlite3.SQLITE_PROTOCOL

	maxConns = 4
	// liveIdle is short because the last process that closes the database removes the -wal, and that should be Nix.
	liveIdle = 50 * time.Millisecond
)

// open opens the database in the mode that its files permit.
func open(ctx context.Context, name string, l files) (_ *handle, err error) {
	h := &handle{mode: l.mode(), seen: l}
	defer func() {
		if err != nil {
			err = errors.Join(err, h.close())
		}
	}()
	params := "mode=ro"
	switch h.mode {
	case still:
		params = "mode=ro&immutable=1"
	case copied:
		if name, err = h.copy(ctx, name); err != nil {
			return h, err
		}
		params = "mode=rw" // creates a -wal index beside the copy
	}
	if h.db, err = openSQL(name, params); err != nil {
		return h, err
	}
	if h.mode == live {
		h.rest = time.AfterFunc(liveIdle, func() {
			h.db.SetMaxIdleConns(0) // closes idle connections
			h.db.SetMaxIdleConns(maxConns)
		})
	}
	return h, h.prepare(ctx)
}

func openSQL(name, params string) (*sql.DB, error) {
	dsn := url.URL{Scheme: "file", Path: name, RawQuery: params + "&_busy_timeout=100&_query_only=1"}
	c, err := sqlite.NewConnector(dsn.String())
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(c)
	db.SetMaxOpenConns(maxConns)
	db.SetMaxIdleConns(maxConns)
	return db, nil
}

func (h *handle) prepare(ctx context.Context) error {
	var n int
	if err := h.db.QueryRowContext(ctx, hasCA).Scan(&n); err != nil {
		return err
	}
	ca := "NULL" // old databases have no content-addressed paths
	if n > 0 {
		ca = "v.ca"
	}
	for _, q := range []struct {
		stmt **sql.Stmt
		sql  string
	}{{&h.find, findSQL}, {&h.object, fmt.Sprintf(objectSQL, ca)}, {&h.list, fmt.Sprintf(listSQL, ca)}} {
		var err error
		if *q.stmt, err = h.db.PrepareContext(ctx, q.sql); err != nil {
			return err
		}
	}
	return nil
}

// close closes the connections, and with them the statements.
func (h *handle) close() error {
	var errs []error
	if h.rest != nil {
		h.rest.Stop()
	}
	if h.db != nil {
		errs = append(errs, h.db.Close())
	}
	if h.dir != "" {
		errs = append(errs, os.RemoveAll(h.dir))
	}
	return errors.Join(errs...)
}

// copy copies the database and its -wal to a private directory. The check after each read shows whether the two copies belong
// together: the files must not have changed.
func (h *handle) copy(ctx context.Context, name string) (string, error) {
	var err error
	if h.dir, err = os.MkdirTemp("", "nixreg-db-"); err != nil {
		return "", err
	}
	to := filepath.Join(h.dir, "db.sqlite")
	for _, suffix := range []string{"", "-wal"} {
		if err := copyFile(ctx, to+suffix, name+suffix); err != nil {
			return "", err
		}
	}
	return to, nil
}

func copyFile(ctx context.Context, to, from string) error {
	in, err := os.Open(from)
	if errors.Is(err, os.ErrNotExist) {
		return errMoved
	}
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, contextReader{ctx, in})
	return errors.Join(err, out.Close())
}

// contextReader ends a copy when the context of the call ends.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
