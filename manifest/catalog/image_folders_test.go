package catalog

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestFoldersAreWatched: a listing is used again as long as no folder has changed, and not if one changed so shortly before
// it that a later change may have the same time.
func TestFoldersAreWatched(t *testing.T) {
	dir := t.TempDir()
	old := time.Now().Add(-time.Hour)
	settled := func() *imageList {
		t.Helper()
		if err := os.Chtimes(dir, old, old); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(dir)
		if err != nil {
			t.Fatal(err)
		}
		return &imageList{at: time.Now(), folders: map[string]time.Time{dir: info.ModTime()}}
	}
	l := settled()
	if !l.holds() {
		t.Error("a folder that is as it was")
	}
	if err := os.WriteFile(filepath.Join(dir, "new.yaml"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if l.holds() {
		t.Error("a folder with another file")
	}
	l = settled()
	l.at = old.Add(folderTick / 2)
	if l.holds() {
		t.Error("a folder that had just changed")
	}
	l = settled()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if l.holds() {
		t.Error("a folder that is gone")
	}
}
