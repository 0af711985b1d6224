package server

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestTempDir(t *testing.T) {
	parent := t.TempDir()
	killed, begun := filepath.Join(parent, tempPrefix+"1"), filepath.Join(parent, tempPrefix+"2")
	unlocked, foreign := filepath.Join(parent, tempPrefix+"3"), filepath.Join(parent, "other")
	data := filepath.Join(parent, tempPrefix+"4") // as somebody may call a data directory
	for _, dir := range []string{filepath.Join(killed, "nars"), begun, unlocked, foreign, data} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{killed, begun, foreign} {
		if err := os.WriteFile(filepath.Join(dir, tempLock), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(data, "lock"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{killed, unlocked, foreign, data} {
		if err := os.Chtimes(dir, time.Time{}, time.Now().Add(-2*takesLock)); err != nil {
			t.Fatal(err)
		}
	}
	first, removeFirst, err := openTempDir(parent)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(first, time.Time{}, time.Now().Add(-2*takesLock)); err != nil {
		t.Fatal(err)
	}
	second, removeSecond, err := openTempDir(parent)
	if err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]bool{killed: false, begun: true, unlocked: true, foreign: true, data: true, first: true, second: true} {
		if _, err := os.Stat(dir); (err == nil) != want {
			t.Errorf("%s is there: %v", dir, err == nil)
		}
	}
	for _, remove := range []func() error{removeFirst, removeSecond} {
		if err := remove(); err != nil {
			t.Error(err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(parent, "*")); len(left) != 4 {
		t.Errorf("left are %q", left)
	}
}
