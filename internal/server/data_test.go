package server

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
)

// No generation of another version's digests is read by this one.
func TestDataOfAnotherVersion(t *testing.T) {
	dir := t.TempDir()
	for _, d := range []string{"badger", "badger-1", "badger-notes"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "version"), []byte("7\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := openDataDir(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	for name, there := range map[string]bool{"badger": false, "badger-1": false, "badger.old-7": true, "badger-notes": true} {
		if _, err := os.Lstat(filepath.Join(dir, name)); errors.Is(err, fs.ErrNotExist) == there {
			t.Errorf("%s: %v, want it there: %t", name, err, there)
		}
	}
}
