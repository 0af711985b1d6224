package packages

import (
	"context"
	"fmt"
	"iter"
	"runtime"
	"testing"

	"github.com/nixreg/nixreg/internal/flight"
	"github.com/nixreg/nixreg/manifest/digests"
	"github.com/nixreg/nixreg/store"
)

// manyPaths is a channel as large as those of nixpkgs: for each path two attributes beside its own name.
type manyPaths []store.Package

func (manyPaths) Name() string                          { return "unstable" }
func (manyPaths) State(context.Context) (string, error) { return "", nil }

func (c manyPaths) Packages(context.Context) iter.Seq2[store.Package, error] {
	return func(yield func(store.Package, error) bool) {
		for _, p := range c {
			if !yield(p, nil) {
				return
			}
		}
	}
}

// generatePaths makes n paths with three names each.
func generatePaths(n int) manyPaths {
	var c manyPaths
	for i := range n {
		name := fmt.Sprintf("python3.12-package_%d-%d.%d", i, i%7, i%100)
		p := store.Path(store.EncodeBase32(fmt.Appendf(nil, "%020d", i)) + "-" + name)
		c = append(c, store.Package{Path: p, Names: []string{fmt.Sprint("python3Packages.package-", i), fmt.Sprint("python312Packages.package-", i)}})
	}
	return c
}

// BenchmarkChannelIndex is what it takes to know the names of a channel: 100,000 paths, 300,000 names.
func BenchmarkChannelIndex(b *testing.B) {
	c := generatePaths(100_000)
	group := flight.NewGroup(context.Background())
	defer group.Close()
	var before, after runtime.MemStats
	for b.Loop() {
		b.StopTimer()
		runtime.GC()
		runtime.ReadMemStats(&before)
		b.StartTimer()
		p := New(Config{All: store.Union(), Channels: []store.Channel{c}, Group: group, Cache: digests.NewMemory(1 << 20)})
		if found, err := p.Known(b.Context(), "python3packages.package-17"); err != nil || !found {
			b.Fatal("not found", err)
		}
		b.StopTimer()
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/1e6, "MB")
		b.StartTimer()
		runtime.KeepAlive(p)
	}
}

func BenchmarkChannelLookup(b *testing.B) {
	c := generatePaths(100_000)
	group := flight.NewGroup(context.Background())
	defer group.Close()
	p := New(Config{All: store.Union(), Channels: []store.Channel{c}, Group: group, Cache: digests.NewMemory(1 << 20)})
	for b.Loop() {
		if tags, err := p.Tags(b.Context(), "python312packages.package-4711"); err != nil || len(tags) == 0 {
			b.Fatal(tags, err)
		}
	}
}

func BenchmarkChannelCatalogue(b *testing.B) {
	c := generatePaths(100_000)
	group := flight.NewGroup(context.Background())
	defer group.Close()
	p := New(Config{All: store.Union(), Channels: []store.Channel{c}, Group: group, Cache: digests.NewMemory(1 << 20)})
	for b.Loop() {
		if names, err := p.Repositories(b.Context()); err != nil || len(names) == 0 {
			b.Fatal(err)
		}
	}
}
