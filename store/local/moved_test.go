package local

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// What was read while the files changed is thrown away and read again, and that ends.
func TestReadAgain(t *testing.T) {
	file := filepath.Join(t.TempDir(), "db.sqlite")
	write := func(query string) {
		t.Helper()
		db, err := sql.Open("sqlite", "file:"+file+"?_pragma=journal_mode(wal)")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := db.Exec(query); err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	write(`CREATE TABLE ValidPaths (id integer primary key, path, hash, registrationTime, deriver, narSize);
		CREATE TABLE Refs (referrer, reference)`)
	d := &database{file: file, log: slog.New(slog.DiscardHandler)}
	defer d.Close()
	var seen []int
	count := func(after func()) func(context.Context, *handle) error {
		return func(ctx context.Context, h *handle) error {
			var n int
			err := h.db.QueryRowContext(ctx, `SELECT count(*) FROM ValidPaths`).Scan(&n)
			seen = append(seen, n)
			after()
			return err
		}
	}
	err := d.read(t.Context(), count(func() {
		if len(seen) == 1 {
			write(`INSERT INTO ValidPaths (path) VALUES ('x')`)
		}
	}))
	if err != nil || len(seen) != 2 || seen[0] != 0 || seen[1] != 1 {
		t.Errorf("read %v rows in turn, %v; want 0, then 1", seen, err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	seen = nil
	err = d.read(ctx, count(func() {
		if err := os.Chtimes(file, fileTime(len(seen)), fileTime(len(seen))); err != nil {
			t.Error(err)
		}
		if len(seen) == 3 {
			cancel()
		}
	}))
	if !errors.Is(err, context.Canceled) || len(seen) != 3 {
		t.Errorf("a database that changes all the time: %d attempts, %v", len(seen), err)
	}
}

func fileTime(n int) time.Time { return time.Unix(1_600_000_000+int64(n), 0) }
