package local_test

import (
	"database/sql"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/local"
	"github.com/nixreg/nixreg/store/storetest"
)

// The schema is that of Nix 2.8, schema version 10.
const schema = `
CREATE TABLE ValidPaths (
	id integer primary key autoincrement not null, path text unique not null, hash text not null,
	registrationTime integer not null, deriver text, narSize integer, ultimate integer, sigs text, ca text
);
CREATE TABLE Refs (
	referrer integer not null, reference integer not null, primary key (referrer, reference),
	foreign key (referrer) references ValidPaths(id) on delete cascade,
	foreign key (reference) references ValidPaths(id) on delete restrict
);
CREATE INDEX IndexReferrer on Refs(referrer);
CREATE INDEX IndexReference on Refs(reference);
CREATE TRIGGER DeleteSelfRefs before delete on ValidPaths
	begin delete from Refs where referrer = old.id and reference = old.id; end;
`

// root is a store on disk with a database that is written as Nix does.
type root struct {
	t      *testing.T
	dir    string
	oracle *storetest.Memory
}

// newRoot makes a store in which objs are valid and no Nix is running.
func newRoot(t *testing.T, objs ...storetest.Fixture) *root {
	r := &root{t: t, dir: t.TempDir(), oracle: storetest.New()}
	r.must(os.MkdirAll(r.file(""), 0o755))
	r.must(os.MkdirAll(filepath.Dir(r.db()), 0o755))
	w := r.writer()
	w.exec(schema)
	for _, f := range objs {
		w.add(f)
	}
	w.close()
	r.age()
	return r
}

func (r *root) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *root) db() string                { return r.dir + "/nix/var/nix/db/db.sqlite" }
func (r *root) file(p store.Path) string  { return r.dir + store.Dir + "/" + string(p) }
func (r *root) exists(suffix string) bool { _, err := os.Stat(r.db() + suffix); return err == nil }

// age makes the database older, so that its State is that of a database nobody wrote lately.
func (r *root) age() {
	for _, suffix := range []string{"", "-wal"} {
		if r.exists(suffix) {
			then := time.Now().Add(-time.Hour)
			r.must(os.Chtimes(r.db()+suffix, then, then))
		}
	}
}

func (r *root) open() *local.Store {
	r.t.Helper()
	s, err := local.Open(local.Options{Root: r.dir})
	r.must(err)
	r.t.Cleanup(func() {
		if err := s.Close(); err != nil {
			r.t.Error(err)
		}
	})
	return s
}

// unpack writes the files of f to disk, as Nix leaves them.
func (r *root) unpack(f storetest.Fixture) {
	r.t.Helper()
	for _, nd := range f.Files.Nodes() {
		name := filepath.Join(r.file(f.Path), nd.Name)
		switch nd.Kind {
		case store.Directory:
			r.must(os.Mkdir(name, 0o755))
		case store.Symlink:
			r.must(os.Symlink(nd.Target, name))
		case store.Regular:
			mode := os.FileMode(0o444)
			if nd.Executable {
				mode = 0o555
			}
			r.must(os.WriteFile(name, []byte(f.Files[nd.Name].Data), mode))
		}
	}
}

// writer is a Nix at work.
type writer struct {
	*root
	sql *sql.DB
}

func (r *root) writer() *writer {
	r.t.Helper()
	db, err := sql.Open("sqlite", "file:"+r.db()+"?_pragma=journal_mode(wal)&_pragma=foreign_keys(1)&_pragma=synchronous(off)")
	r.must(err)
	db.SetMaxOpenConns(1)
	w := &writer{root: r, sql: db}
	r.t.Cleanup(func() { db.Close() })
	return w
}

func (w *writer) exec(query string, args ...any) {
	w.t.Helper()
	_, err := w.sql.Exec(query, args...)
	w.must(err)
}

// add unpacks and registers f.
func (w *writer) add(f storetest.Fixture) {
	w.t.Helper()
	w.unpack(f)
	w.register(f)
}

func (w *writer) register(f storetest.Fixture) {
	w.t.Helper()
	w.oracle.Put(f)
	obj, err := w.oracle.Object(w.t.Context(), f.Path)
	w.must(err)
	null := func(s string) sql.NullString { return sql.NullString{String: s, Valid: s != ""} }
	deriver := ""
	if obj.Deriver != "" {
		deriver = obj.Deriver.Abs()
	}
	tx, err := w.sql.Begin()
	w.must(err)
	_, err = tx.Exec(`INSERT INTO ValidPaths (path, hash, registrationTime, deriver, narSize, ca) VALUES (?, ?, ?, ?, ?, ?)`,
		f.Path.Abs(), "sha256:"+hex.EncodeToString(obj.NarHash[:]), obj.Registered, null(deriver), obj.NarSize, null(obj.CA))
	w.must(err)
	for _, ref := range obj.References {
		_, err := tx.Exec(`INSERT INTO Refs SELECT a.id, b.id FROM ValidPaths a, ValidPaths b WHERE a.path = ? AND b.path = ?`, f.Path.Abs(), ref.Abs())
		w.must(err)
	}
	w.must(tx.Commit())
}

func (w *writer) delete(p store.Path) {
	w.t.Helper()
	w.exec(`DELETE FROM ValidPaths WHERE path = ?`, p.Abs())
	w.must(os.RemoveAll(w.file(p)))
}

func (w *writer) close() {
	w.t.Helper()
	w.must(w.sql.Close())
}

func copyTo(t *testing.T, to, from string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
}
