package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A run without mirrors keeps what was mirrored before, whatever its own size of the cache, and removes what is half
// written. One with a mirror keeps to the size.
func TestMirrorCacheOfAnotherRun(t *testing.T) {
	dir := t.TempDir()
	whole := filepath.Join(dir, "sha256", "00", strings.Repeat("0", 64))
	half := filepath.Join(dir, "incoming", "blob-1")
	for _, file := range []string{whole, half} {
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, make([]byte, 2000), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run := func(mirrors ...mirrorConfig) {
		t.Helper()
		p := new(parts)
		if err := p.openMirrors(&config{mirrorCache: "1KB", mirrors: mirrors}, dir, slog.New(slog.DiscardHandler)); err != nil {
			t.Fatal(err)
		}
		if err := p.close(); err != nil {
			t.Fatal(err)
		}
	}
	run()
	if !isFile(whole) || isFile(half) {
		t.Errorf("without a mirror: kept %v, half written %v; want true, false", isFile(whole), isFile(half))
	}
	run(mirrorConfig{name: "lab", url: "http://127.0.0.1:1"})
	if isFile(whole) {
		t.Error("with a mirror more is kept than --mirror-cache")
	}
}

func isFile(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
