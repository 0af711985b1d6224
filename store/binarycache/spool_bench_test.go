package binarycache

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/nixreg/nixreg/internal/lru"
)

func BenchmarkOpenSpool100k(b *testing.B) {
	dir := b.TempDir()
	id := makeNAR("a", 1).id
	for i := range 100_000 {
		id.hash[0], id.hash[1], id.hash[2] = byte(i), byte(i>>8), byte(i>>16)
		if err := os.WriteFile(filepath.Join(dir, narName(id)), []byte("x"), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		s, err := OpenSpool(SpoolOptions{Dir: dir})
		if err != nil || s.files.Stats().Files != 100_000 {
			b.Fatal(err)
		}
		s.Close()
	}
}

func BenchmarkAcquireWarm(b *testing.B) {
	s := openSpool(b, SpoolOptions{})
	n := makeNAR("a", 1<<20)
	use(b, s, n)
	b.ReportAllocs()
	for b.Loop() {
		get(b, s, n).file.Close()
	}
}

// BenchmarkAcquireClosed is of an archive whose index is not in memory.
func BenchmarkAcquireClosed(b *testing.B) {
	s := openSpool(b, SpoolOptions{})
	s.indexes = lru.Cache[string, indexed]{}
	n := narWith("a", dirOf(sortedNames(1000)...))
	b.ReportAllocs()
	for b.Loop() {
		get(b, s, n).file.Close()
	}
}

func sortedNames(count int) (out []string) {
	for i := range count {
		out = append(out, fmt.Sprintf("name-%06d", i))
	}
	return out
}
