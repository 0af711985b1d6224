package blobs

import (
	"encoding/binary"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

// BenchmarkOpen opens a cache of 100,000 blobs.
func BenchmarkOpen(b *testing.B) {
	const blobs = 100_000
	dir := b.TempDir()
	for i := range blobs {
		var k [32]byte
		binary.BigEndian.PutUint64(k[:], uint64(i)*0x9e3779b97f4a7c15)
		name := hex.EncodeToString(k[:])
		path := filepath.Join(dir, "sha256", name[:2], name)
		err := os.WriteFile(path, []byte("x"), 0o600)
		if os.IsNotExist(err) {
			if err = os.MkdirAll(filepath.Dir(path), 0o700); err == nil {
				err = os.WriteFile(path, []byte("x"), 0o600)
			}
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	var before, after runtime.MemStats
	for b.Loop() {
		runtime.GC()
		runtime.ReadMemStats(&before)
		c := open(b, Options{Dir: dir})
		if n := c.Stats().Blobs; n != blobs {
			b.Fatalf("%d blobs", n)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		c.Close()
		runtime.KeepAlive(c)
	}
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/blobs, "B/blob")
}

// BenchmarkWarm writes a kept blob.
func BenchmarkWarm(b *testing.B) {
	data := content(1, 64<<20)
	c := open(b, Options{})
	mustRead(b, c, data, originOf(data).fetch)
	blob := mustBlob(b, c, digest(data), nil)
	for _, n := range []int64{4 << 10, 64 << 20} {
		b.Run(map[bool]string{true: "4KiB", false: "64MiB"}[n == 4<<10], func(b *testing.B) {
			b.SetBytes(n)
			for b.Loop() {
				if err := blob.WriteRange(b.Context(), io.Discard, 0, n); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkCold fetches a blob and reads it as it arrives.
func BenchmarkCold(b *testing.B) {
	data := content(1, 64<<20)
	cache, err := Open(Options{Dir: b.TempDir()}) // which keeps nothing: no fsync
	if err != nil {
		b.Fatal(err)
	}
	defer cache.Close()
	c := cache.Origin(0)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		blob := mustBlob(b, c, digest(data), originOf(data).fetch)
		if err := blob.WriteRange(b.Context(), io.Discard, 0, blob.Size()); err != nil {
			b.Fatal(err)
		}
	}
}
