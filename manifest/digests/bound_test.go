package digests

import (
	"bytes"
	"errors"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"strings"
	"syscall"
	"testing"
)

// TestBadgerIsEmptiedWhenTooLarge: beyond the bound all records go, and the cache works on.
func TestBadgerIsEmptiedWhenTooLarge(t *testing.T) {
	b, err := OpenBadger(t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	ctx := t.Context()
	if err := b.Put(ctx, "a", []byte("record")); err != nil {
		t.Fatal(err)
	}
	if err := b.bound(maxDirectory); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Get(ctx, "a"); err != nil {
		t.Errorf("below the bound: %v", err)
	}
	if err := b.bound(-1); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Get(ctx, "a"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("above the bound: %v", err)
	}
	if err := b.Put(ctx, "b", []byte("record")); err != nil {
		t.Fatal(err)
	}
	if v, err := b.Get(ctx, "b"); err != nil || string(v) != "record" {
		t.Errorf("after it: %q, %v", v, err)
	}
}

// TestBadgerWritesNothingToAFullDisk: a mapped write to a full disk ends the process, so there must be none.
func TestBadgerWritesNothingToAFullDisk(t *testing.T) {
	b, err := OpenBadger(t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	b.spare = math.MaxInt64
	if err := b.Put(t.Context(), "a", nil); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("put: %v", err)
	}
	if _, err := b.Get(t.Context(), "a"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("get: %v", err)
	}
	b.spare = spareSpace
	if err := b.Put(t.Context(), "a", nil); err != nil {
		t.Errorf("with space again: %v", err)
	}
}

// TestForeignDirectoryIsSetAside: nixreg writes nothing among files that are not its own.
func TestForeignDirectoryIsSetAside(t *testing.T) {
	for name, make := range map[string]func(dir, elsewhere string) error{
		"files of others": func(dir, _ string) error {
			return errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(dir+"/passwd", []byte("x"), 0o600))
		},
		"a plain file": func(dir, _ string) error { return os.WriteFile(dir, []byte("x"), 0o600) },
		"a link to a directory of others": func(dir, elsewhere string) error {
			return errors.Join(os.WriteFile(elsewhere+"/passwd", []byte("x"), 0o600), os.Symlink(elsewhere, dir))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir, elsewhere := t.TempDir()+"/badger", t.TempDir()
			if err := make(dir, elsewhere); err != nil {
				t.Fatal(err)
			}
			var log bytes.Buffer
			b, err := OpenBadger(dir, slog.New(slog.NewTextHandler(&log, nil)))
			if err != nil {
				t.Fatal(err)
			}
			defer b.Close()
			if _, err := os.Lstat(dir + ".damaged-1"); err != nil || !strings.Contains(log.String(), "damaged-1") {
				t.Errorf("%v; log: %s", err, log.String())
			}
			if left, err := os.ReadDir(elsewhere); err != nil || len(left) > 1 {
				t.Errorf("written among files of others: %v, %v", left, err)
			}
		})
	}
}
