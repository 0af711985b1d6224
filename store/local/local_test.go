package local_test

import (
	"os"
	"testing"

	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/storetest"
)

func TestIdle(t *testing.T) {
	storetest.Test(t, func(t *testing.T, objs []storetest.Fixture) store.Store {
		r := newRoot(t, objs...)
		t.Cleanup(func() {
			for _, suffix := range []string{"-wal", "-shm", "-journal"} {
				if r.exists(suffix) {
					t.Errorf("reading left db.sqlite%s behind", suffix)
				}
			}
		})
		return r.open()
	})
}

func TestBusy(t *testing.T) {
	storetest.Test(t, func(t *testing.T, objs []storetest.Fixture) store.Store {
		r := newRoot(t)
		w := r.writer()
		w.exec(`CREATE TABLE Other (x)`) // keeps a -wal there
		for _, f := range objs {
			w.add(f)
		}
		r.age()
		return r.open()
	})
}

// A machine that lost power leaves a -wal and no living process; a copy of the files has no -shm.
func TestCrashed(t *testing.T) {
	storetest.Test(t, func(t *testing.T, objs []storetest.Fixture) store.Store {
		r := newRoot(t)
		w := r.writer()
		w.exec(`CREATE TABLE Other (x)`)
		for _, f := range objs {
			w.add(f)
		}
		copyTo(t, r.db()+".new", r.db())
		copyTo(t, r.db()+".new-wal", r.db()+"-wal")
		w.close()
		r.must(os.Rename(r.db()+".new", r.db()))
		r.must(os.Rename(r.db()+".new-wal", r.db()+"-wal"))
		r.age()
		return r.open()
	})
}

func TestRollbackJournal(t *testing.T) {
	storetest.Test(t, func(t *testing.T, objs []storetest.Fixture) store.Store {
		r := newRoot(t, objs...)
		w := r.writer()
		w.exec(`PRAGMA journal_mode = truncate`) // as Nix with use-sqlite-wal = false
		w.close()
		r.age()
		return r.open()
	})
}
