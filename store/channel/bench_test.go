package channel

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/ulikunitz/xz"
)

// generated writes a channel of n paths to a new folder.
func generated(b *testing.B, n int) string {
	dir := b.TempDir()
	p, err := os.Create(filepath.Join(dir, pathsFile))
	must(b, err)
	defer p.Close()
	q, err := os.Create(filepath.Join(dir, packagesFile))
	must(b, err)
	defer q.Close()
	packed, err := xz.NewWriter(p)
	must(b, err)
	paths := bufio.NewWriter(packed)
	br := brotli.NewWriterLevel(q, 4)
	packages := bufio.NewWriter(br)
	newGenerator().write(paths, packages, n)
	must(b, paths.Flush())
	must(b, packages.Flush())
	must(b, packed.Close())
	must(b, br.Close())
	return dir
}

// live is the number of bytes that are in use.
func live() float64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// BenchmarkRead is what a refresh costs that finds a new release: fetch from disk, unpack, parse, join.
func BenchmarkRead(b *testing.B) { benchmark(b, readOnce) }

// BenchmarkLoad is what a start costs: the kept index is read.
func BenchmarkLoad(b *testing.B) {
	benchmark(b, func(b *testing.B, dir string) *release {
		r, err := load(filepath.Join(dir, "index"))
		must(b, err)
		return r
	})
}

// BenchmarkPackages is one listing.
func BenchmarkPackages(b *testing.B) {
	dir := generated(b, 100_000)
	r := readOnce(b, dir)
	for b.Loop() {
		for range r.packages() {
		}
	}
}

func readOnce(b *testing.B, dir string) *release {
	c := &Channel{name: "x", location: dir, fetch: folder(dir), log: discard}
	r, _, err := c.read(b.Context(), nil)
	must(b, err)
	return r
}

func benchmark(b *testing.B, read func(*testing.B, string) *release) {
	for _, n := range []int{100_000, 300_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			dir := generated(b, n)
			r := readOnce(b, dir)
			must(b, r.save(filepath.Join(dir, "index"), r.encode()))
			r = nil
			before := live()
			for b.Loop() {
				r = nil
				r = read(b, dir)
			}
			b.ReportMetric((live()-before)/1e6, "live-MB")
			b.ReportMetric(float64(len(r.paths.ends)), "paths")
			b.ReportMetric(float64(len(r.attributes.ends)), "attributes")
			runtime.KeepAlive(r)
		})
	}
}
