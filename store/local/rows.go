package local

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"modernc.org/sqlite"

	"github.com/nixreg/nixreg/store"
)

// batchSize is the number of rows that a listing reads in one transaction of a few milliseconds: a long transaction keeps
// Nix from truncating its -wal.
const batchSize = 2000

const (
	findSQL = `SELECT path FROM ValidPaths WHERE path >= ? AND path < ? LIMIT 1`
	// One statement reads the row and its references at one moment. Store paths have no spaces.
	objectSQL = `SELECT v.id, v.path, v.registrationTime, v.deriver, %s, v.hash, v.narSize,
		(SELECT group_concat(t.path, ' ') FROM Refs r JOIN ValidPaths t ON t.id = r.reference WHERE r.referrer = v.id)
		FROM ValidPaths v WHERE v.path = ?`
	listSQL = `SELECT v.id, v.path, v.registrationTime, v.deriver, %s FROM ValidPaths v WHERE v.id < ? ORDER BY v.id DESC LIMIT ?`
	hasCA   = `SELECT count(*) FROM pragma_table_info('ValidPaths') WHERE name = 'ca'`
)

// row is a row of ValidPaths, not parsed yet.
type row struct {
	id         int64
	path       string
	registered sql.NullInt64
	deriver    sql.NullString
	ca         sql.NullString
	hash       sql.NullString
	size       sql.NullInt64
	refs       sql.NullString
	fault      error // of a malformed column
}

type scanner interface{ Scan(dest ...any) error }

func (r *row) scanEntry(s scanner) error {
	return r.named(s.Scan(&r.id, &r.path, &r.registered, &r.deriver, &r.ca))
}

func (r *row) scanObject(s scanner) error {
	return r.named(s.Scan(&r.id, &r.path, &r.registered, &r.deriver, &r.ca, &r.hash, &r.size, &r.refs))
}

// named adds the row to the error of a column. Errors of SQLite and of the context stay as they are.
func (r *row) named(err error) error {
	var db *sqlite.Error
	if err == nil || r.id == 0 || errors.As(err, &db) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	r.fault = r.bad(err)
	return r.fault
}

// bad hides the kind of err: a malformed row is not an invalid argument of the caller.
func (r *row) bad(err error) error {
	return fmt.Errorf("row %d of ValidPaths (path %.300q): %v", r.id, r.path, err)
}

func (r *row) entry() (e store.Entry, err error) {
	if r.fault != nil {
		return store.Entry{}, r.fault
	}
	if e.Path, err = parsePath(r.path); err != nil {
		return store.Entry{}, r.bad(err)
	}
	if r.deriver.String != "" {
		if e.Deriver, err = parsePath(r.deriver.String); err != nil {
			return store.Entry{}, r.bad(fmt.Errorf("deriver: %w", err))
		}
	}
	e.Registered, e.CA = r.registered.Int64, r.ca.String
	return e, nil
}

func (r *row) object() (*store.Object, error) {
	e, err := r.entry()
	if err != nil {
		return nil, err
	}
	obj := &store.Object{Entry: e, NarSize: r.size.Int64, References: []store.Path{}}
	if obj.NarHash, err = store.ParseHash(r.hash.String); err != nil {
		return nil, r.bad(err)
	}
	if obj.NarSize < 0 {
		return nil, r.bad(fmt.Errorf("negative narSize %d", obj.NarSize))
	}
	for ref := range strings.FieldsSeq(r.refs.String) {
		p, err := parsePath(ref)
		if err != nil {
			return nil, r.bad(fmt.Errorf("reference: %w", err))
		}
		obj.References = append(obj.References, p)
	}
	slices.Sort(obj.References)
	return obj, nil
}

// parsePath parses an absolute store path with nothing after it.
func parsePath(abs string) (store.Path, error) {
	base, ok := strings.CutPrefix(abs, store.Dir+"/")
	if !ok {
		return "", fmt.Errorf("path %.300q is not in %s", abs, store.Dir)
	}
	p, err := store.ParsePath(base)
	if err != nil {
		return "", fmt.Errorf("%v", err)
	}
	return p, nil
}
