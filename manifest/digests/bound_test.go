package digests

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// fillGeneration puts large records called <prefix><n> until a new generation begins.
func fillGeneration(t *testing.T, b *Badger, prefix string) {
	t.Helper()
	for first, n := b.young.number, 0; b.young.number == first; n++ {
		if n > 1000 {
			t.Fatal("no new generation")
		}
		if err := b.Put(t.Context(), fmt.Sprint(prefix, n), make([]byte, 64<<10)); err != nil {
			t.Fatal(err)
		}
	}
}

// forgetNear makes the next reads those of a new process.
func forgetNear(b *Badger) { b.near.Clear() }

// Within the bound in bytes, the records that were not used lately go, and no others. A record counts as used whether it is
// read from disk or from memory.
func TestBadgerEvictsWhatIsNotUsed(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "badger")
	var log bytes.Buffer
	b, err := OpenBadger(dir, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	b.most = 2 << 20
	for _, key := range []string{"disk", "memory", "unused"} {
		if err := b.Put(t.Context(), key, []byte(key)); err != nil {
			t.Fatal(err)
		}
	}
	forgetNear(b)
	for range 5 {
		fillGeneration(t, b, "filler")
		wantRecord(t, b, "memory", "memory")
		b.near.Delete("disk")
		wantRecord(t, b, "disk", "disk")
		if n := diskUse(t, filepath.Dir(dir)); n > 3*b.most {
			t.Errorf("%d bytes on disk, of at most %d and what is in badger's logs", n, 2*b.most)
		}
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	b = mustOpen(t, dir)
	wantRecord(t, b, "disk", "disk")
	wantRecord(t, b, "memory", "memory")
	if _, err := b.Get(t.Context(), "unused"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("not used in five generations: %v", err)
	}
	if n := strings.Count(log.String(), "evicts"); n != 4 || strings.Contains(log.String(), "ERROR") {
		t.Errorf("%d evictions are logged, want 4:\n%s", n, log.String())
	}
}

func diskUse(t *testing.T, dir string) (n int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := e.Info()
		n += fi.Sys().(*syscall.Stat_t).Blocks * 512
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// A record that was put anew after it was read from the old generation stays the new one.
func TestBadgerKeepsTheNewRecord(t *testing.T) {
	b := mustOpen(t, filepath.Join(t.TempDir(), "badger"))
	b.most = 2 << 20
	if err := b.Put(t.Context(), "a", []byte("old")); err != nil {
		t.Fatal(err)
	}
	fillGeneration(t, b, "filler")
	if err := b.Put(t.Context(), "a", []byte("new")); err != nil {
		t.Fatal(err)
	}
	if _, err := b.write("a", []byte("old"), false); err != nil {
		t.Fatal(err)
	}
	forgetNear(b)
	wantRecord(t, b, "a", "new")
}

// Whenever a process is killed, the two newest generations are read, and those that were about to be deleted go.
func TestBadgerKilledWhileItEvicts(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "badger")
	for n := range 3 {
		g := dir
		if n > 0 {
			g = fmt.Sprintf("%s-%d", dir, n)
		}
		b := mustOpen(t, g)
		if err := b.Put(t.Context(), fmt.Sprint(n), []byte("record")); err != nil {
			t.Fatal(err)
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Remove(dir+"/KEYREGISTRY"), os.Mkdir(dir+"-notes", 0o700)); err != nil { // half deleted; not ours
		t.Fatal(err)
	}
	b := mustOpen(t, dir)
	if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the oldest generation: %v", err)
	}
	if _, err := os.Lstat(dir + "-notes"); err != nil {
		t.Error(err)
	}
	wantRecord(t, b, "1", "record")
	wantRecord(t, b, "2", "record")
	if b.young.number != 2 {
		t.Errorf("generation %d is the young one", b.young.number)
	}
}

// Generations change while records are read and written.
func TestBadgerEvictsWhileItIsUsed(t *testing.T) {
	b := mustOpen(t, filepath.Join(t.TempDir(), "badger"))
	b.most = 1 << 20
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for n := range 30 {
				key, value := fmt.Sprint(i, "/", n), bytes.Repeat([]byte{byte(n)}, 64<<10)
				if err := b.Put(t.Context(), key, value); err != nil {
					t.Error(err)
				}
				b.near.Delete(key)
				got, err := b.Get(t.Context(), key)
				if errors.Is(err, fs.ErrNotExist) { // others have filled two generations since
					continue
				}
				if err != nil || !bytes.Equal(got, value) {
					t.Errorf("%s: %d bytes, %v", key, len(got), err)
				}
			}
		})
	}
	wg.Wait()
	if b.young.number < 4 {
		t.Errorf("only generation %d", b.young.number)
	}
}

// A mapped write to a full disk ends the process, so there must be none: not of records, and not of those that are read.
func TestBadgerWithAFullDisk(t *testing.T) {
	var log bytes.Buffer
	b, err := OpenBadger(filepath.Join(t.TempDir(), "badger"), slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	b.most = 2 << 20
	if err := b.Put(t.Context(), "aged", []byte("aged")); err != nil {
		t.Fatal(err)
	}
	fillGeneration(t, b, "filler")
	forgetNear(b)
	b.spare = math.MaxInt64
	for _, key := range []string{"a", "b"} {
		if err := b.Put(t.Context(), key, []byte(key)); err != nil {
			t.Fatal(err)
		}
		wantRecord(t, b, key, key)
	}
	if _, err := b.write("c", nil, true); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("write: %v", err)
	}
	if b.collectOne() {
		t.Error("the collector writes")
	}
	for range 2 {
		wantRecord(t, b, "aged", "aged")
		forgetNear(b)
	}
	if _, err := b.Get(t.Context(), "a"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a record on a full disk: %v", err)
	}
	if n := strings.Count(log.String(), "level=ERROR"); n != 1 {
		t.Errorf("said %d times:\n%s", n, log.String())
	}
	if err := b.Put(t.Context(), "memory", []byte("memory")); err != nil {
		t.Fatal(err)
	}
	b.spare = spareSpace
	wantRecord(t, b, "memory", "memory") // is written now
	forgetNear(b)
	wantRecord(t, b, "memory", "memory")
	if !strings.Contains(log.String(), "again") {
		t.Errorf("log:\n%s", log.String())
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
