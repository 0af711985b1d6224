package local_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/local"
	"github.com/nixreg/nixreg/store/storetest"
)

func small(name string, refs ...store.Path) storetest.Fixture {
	return storetest.NewFixture(name, storetest.Files{"f": storetest.File(name)}, refs...)
}

func TestOpenErrors(t *testing.T) {
	if _, err := local.Open(local.Options{Root: t.TempDir()}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no database: %v; want fs.ErrNotExist", err)
	}
	if _, err := local.Open(local.Options{Root: "relative"}); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("relative root: %v; want fs.ErrInvalid", err)
	}
	r := newRoot(t)
	r.must(os.WriteFile(r.db(), []byte(strings.Repeat("not a database ", 100)), 0o644))
	if _, err := local.Open(local.Options{Root: r.dir}); err == nil || !strings.Contains(err.Error(), r.db()) {
		t.Errorf("not a database: %v", err)
	}
	r = newRoot(t)
	w := r.writer()
	w.exec(`DROP TABLE Refs`)
	w.close()
	if _, err := local.Open(local.Options{Root: r.dir}); err == nil {
		t.Error("a database of something else was opened")
	}
}

func TestClosed(t *testing.T) {
	a := small("a")
	r := newRoot(t, a)
	s, err := local.Open(local.Options{Root: r.dir})
	r.must(err)
	r.must(s.Close())
	r.must(s.Close())
	if _, err := s.Object(t.Context(), a.Path); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("object of a closed store: %v; want fs.ErrClosed", err)
	}
}

func TestRootWithOddName(t *testing.T) {
	a := small("a")
	r := newRoot(t, a)
	odd := t.TempDir() + "/50%20?mode=rw&x#y z"
	r.must(os.Rename(r.dir, odd))
	r.dir = odd
	storetest.Check(t, r.open(), a.Path)
}

func TestValidity(t *testing.T) {
	a, stray, lost := small("a"), small("stray"), small("lost")
	r := newRoot(t, a, lost)
	r.unpack(stray)
	r.must(os.RemoveAll(r.file(lost.Path)))
	s := r.open()
	if _, err := s.Open(t.Context(), stray.Path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("open a path on disk that is not valid: %v; want fs.ErrNotExist", err)
	}
	if p, err := s.Find(t.Context(), stray.Path.Hash()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("find a path on disk that is not valid: %q, %v; want fs.ErrNotExist", p, err)
	}
	if _, err := s.Open(t.Context(), lost.Path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("open a valid path that is not on disk: %v; want fs.ErrNotExist", err)
	}
}

func TestStateChanges(t *testing.T) {
	r := newRoot(t, small("a"))
	s := r.open()
	seen := make(map[string]string)
	look := func(when string) {
		t.Helper()
		state, err := s.State(t.Context())
		r.must(err)
		if before, ok := seen[state]; ok {
			t.Errorf("%s: the state is that of %s", when, before)
		}
		seen[state] = when
	}
	look("idle")
	w := r.writer()
	b := small("b")
	w.add(b)
	look("registered")
	w.delete(b.Path)
	look("deleted")
	w.close()
	look("checkpointed")

	// A Nix that only reads makes and removes an empty -wal; that is no change.
	r.age()
	before, err := s.State(t.Context())
	r.must(err)
	r.must(os.WriteFile(r.db()+"-wal", nil, 0o644))
	if after, err := s.State(t.Context()); err != nil || after != before {
		t.Errorf("state %q became %q (%v) by an empty -wal", before, after, err)
	}
}

func TestListInBatches(t *testing.T) {
	var objs []storetest.Fixture
	for i := range 4500 { // more than two batches
		objs = append(objs, storetest.NewFixture(fmt.Sprintf("p-%d", i), nil))
	}
	r := newRoot(t)
	w := r.writer()
	w.exec(`BEGIN`)
	for _, f := range objs {
		w.exec(`INSERT INTO ValidPaths (path, hash, registrationTime) VALUES (?, ?, 1)`, f.Path.Abs(), "sha256:"+strings.Repeat("0", 64))
	}
	w.exec(`COMMIT`)
	s := r.open()
	n := 0
	for e, err := range s.List(t.Context()) {
		r.must(err)
		if want := objs[len(objs)-1-n].Path; e.Path != want {
			t.Fatalf("entry %d is %s, want %s", n, e.Path, want)
		}
		if n%1000 == 0 {
			w.register(small(fmt.Sprintf("new-%d", n)))
			// A reader in the middle of a transaction would make this busy.
			var busy, pages, done int
			r.must(w.sql.QueryRow(`PRAGMA wal_checkpoint(truncate)`).Scan(&busy, &pages, &done))
			if busy != 0 {
				t.Errorf("after entry %d: the listing holds a transaction open", n)
			}
		}
		n++
	}
	if n != len(objs) {
		t.Errorf("%d entries, want %d", n, len(objs))
	}
}

func TestOldSchema(t *testing.T) {
	a := small("a")
	r := newRoot(t, a)
	w := r.writer()
	w.exec(`ALTER TABLE ValidPaths DROP COLUMN ca`)
	w.exec(`UPDATE ValidPaths SET deriver = ''`)
	w.close()
	s := r.open()
	storetest.Check(t, s)
	if obj, err := s.Object(t.Context(), a.Path); err != nil || obj.CA != "" || obj.Deriver != "" {
		t.Errorf("%+v, %v", obj, err)
	}
}

func TestBadRows(t *testing.T) {
	for _, set := range []string{
		`hash = 'md5:00'`, `hash = ''`, `narSize = -1`, `narSize = 'many'`, `deriver = '/nix/store/x'`, `deriver = 'unknown'`, `registrationTime = 'now'`,
	} {
		a, b := small("a"), small("b")
		r := newRoot(t, a, b)
		w := r.writer()
		w.exec(`UPDATE ValidPaths SET `+set+` WHERE path = ?`, b.Path.Abs())
		w.close()
		s := r.open()
		if obj, err := s.Object(t.Context(), b.Path); err == nil || !strings.Contains(err.Error(), string(b.Path)) || errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%s: %+v, %v", set, obj, err)
		}
		storetest.Check(t, s, a.Path)
	}
}

// TestListLeavesBadRowsOut: the other paths are listed, and the log names the bad ones.
func TestListLeavesBadRowsOut(t *testing.T) {
	a := small("a")
	r := newRoot(t, a)
	w := r.writer()
	w.exec(`INSERT INTO ValidPaths (path, hash, registrationTime) VALUES ('/gnu/store/x', 'x', 1)`)
	w.exec(`INSERT INTO ValidPaths (path, hash, registrationTime) VALUES ('/nix/store/0123456789abcdfghijklmnpqrsvwxyz-b', 'x', 'now')`)
	w.close()
	var log bytes.Buffer
	s, err := local.Open(local.Options{Root: r.dir, Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var paths []store.Path
	for e, err := range s.List(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		paths = append(paths, e.Path)
	}
	if len(paths) != 1 || paths[0] != a.Path {
		t.Errorf("listed %v", paths)
	}
	for _, bad := range []string{"/gnu/store/x", "qrsvwxyz-b"} {
		if !strings.Contains(log.String(), bad) {
			t.Errorf("%s is not in the log:\n%s", bad, log.String())
		}
	}
}

func TestDatabaseReplaced(t *testing.T) {
	a, b := small("a"), small("b")
	for _, busy := range []bool{false, true} {
		r, other := newRoot(t, a), newRoot(t, b)
		w := r.writer()
		if busy {
			w.exec(`CREATE TABLE Other (x)`)
		}
		s := r.open()
		storetest.Check(t, s, a.Path)
		w.close()
		r.must(os.Rename(other.db(), r.db()))
		r.must(os.Rename(other.file(b.Path), r.file(b.Path)))
		for _, suffix := range []string{"-wal", "-shm"} {
			r.must(os.RemoveAll(r.db() + suffix))
		}
		storetest.Check(t, s, b.Path)
		if _, err := s.Object(t.Context(), a.Path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("busy %t: the old database still answers: %v", busy, err)
		}
	}
}
