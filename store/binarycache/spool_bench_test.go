package binarycache

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/nixreg/nixreg/internal/filestamp"
)

func BenchmarkOpenSpool100k(b *testing.B) {
	dir := b.TempDir()
	n := makeNAR("a", 1)
	for i := range 100_000 {
		k := keyOf(n.id)
		binary.LittleEndian.PutUint32(k.hash[:], uint32(i))
		if err := os.WriteFile(filepath.Join(dir, k.fileName()), []byte("x"), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		s, err := OpenSpool(SpoolOptions{Dir: dir})
		if err != nil || len(s.files) != 100_000 {
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
		s.release(get(b, s, n))
	}
}

// BenchmarkAcquireClosed is of an archive that is in the spool, but no longer open.
func BenchmarkAcquireClosed(b *testing.B) {
	s := openSpool(b, SpoolOptions{})
	n := narWith("a", dirOf(sortedNames(1000)...))
	s.release(get(b, s, n))
	b.ReportAllocs()
	for b.Loop() {
		s.mu.Lock()
		if a := s.files[keyOf(n.id)].open; a != nil {
			s.shut(a)
		}
		s.mu.Unlock()
		s.release(get(b, s, n))
	}
}

// BenchmarkVerify is the first use of an archive that an earlier process left.
func BenchmarkVerify(b *testing.B) {
	s := openSpool(b, SpoolOptions{})
	n := makeNAR("a", 32<<20)
	s.release(get(b, s, n))
	b.SetBytes(n.size)
	for b.Loop() {
		s.mu.Lock()
		e := s.files[keyOf(n.id)]
		e.state = filestamp.Stamp{}
		if e.open != nil {
			s.shut(e.open)
		}
		s.mu.Unlock()
		s.release(get(b, s, n))
	}
}

func sortedNames(count int) (out []string) {
	for i := range count {
		out = append(out, fmt.Sprintf("name-%06d", i))
	}
	return out
}
