package digests

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// seedFiles gives the fuzzer the files of a real directory.
func seedFiles(f *testing.F, pattern string) {
	dir := f.TempDir()
	b, err := OpenBadger(dir, nil)
	if err != nil {
		f.Fatal(err)
	}
	for n := range 20 {
		k, v := record(n)
		if err := b.Put(f.Context(), k, v); err != nil {
			f.Fatal(err)
		}
	}
	add := func() {
		names, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			f.Fatal(err)
		}
		for _, name := range names {
			data, err := os.ReadFile(name)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(trim(data))
		}
	}
	add() // the logs are there while it is open
	if err := b.Close(); err != nil {
		f.Fatal(err)
	}
	add() // the tables once it is closed
}

// After cutLog every entry of a log lies within it.
func FuzzCutLog(f *testing.F) {
	seedFiles(f, "*.mem")
	f.Add(hugeEntry(make([]byte, 200)))
	f.Fuzz(func(t *testing.T, data []byte) {
		name := filepath.Join(t.TempDir(), "00001.mem")
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := cutLog(name); err != nil {
			t.Fatal(err)
		}
		left, err := os.ReadFile(name)
		if err != nil || !bytes.HasPrefix(data, left) {
			t.Fatalf("cut from %d to %d bytes that are others: %v", len(data), len(left), err)
		}
		size := int64(len(left))
		for off := int64(logHeaderLen); off < size; {
			n, err := entryLen(bytes.NewReader(left), off, size)
			if err != nil || off+n > size {
				t.Fatalf("entry at %d of %d bytes: %d bytes, %v", off, size, n, err)
			}
			if n == 0 {
				break
			}
			off += n
		}
	})
}

// Whatever a table holds, checkFiles says yes or no, and ends neither in a panic nor in the end of the process.
func FuzzCheckTable(f *testing.F) {
	seedFiles(f, "*.sst")
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := checkFooter(data); err != nil {
			return
		}
		name := filepath.Join(t.TempDir(), "000001.sst")
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = recover() }() // as checkFiles does
		_ = checkTable(name, 1)
	})
}
