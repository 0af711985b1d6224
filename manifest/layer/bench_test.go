package layer_test

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/nixreg/nixreg/internal/flight"
	"github.com/nixreg/nixreg/manifest/digests"
	"github.com/nixreg/nixreg/manifest/layer"
	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/storetest"
)

// benchmarkStore has one path of a large file and many small ones.
func benchmarkStore() (*storetest.Memory, store.Path) {
	m := storetest.New()
	files := storetest.Files{"lib/large": storetest.File(strings.Repeat("0123456789abcdef", 2<<20))}
	for i := range 2000 {
		files[fmt.Sprintf("share/%d/%d", i%50, i)] = storetest.File(strings.Repeat("x", i))
	}
	return m, m.Add("bench-1", files)
}

func BenchmarkDescribe(b *testing.B) {
	m, p := benchmarkStore()
	o, err := m.Object(ctx, p)
	if err != nil {
		b.Fatal(err)
	}
	r := layer.Recipe{Format: layer.StorePaths, Objects: []layer.Ref{layer.RefOf(o)}, Owner: layer.Root, MTime: 1}
	for b.Loop() {
		g := flight.NewGroup(ctx)
		maker := layer.Maker{Store: m, Cache: new(digests.Memory), Group: g, Hashing: &flight.Queue{Running: 1}}
		info, err := maker.Describe(ctx, r)
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(info.Size)
		g.Close()
	}
}

func BenchmarkWriteRange(b *testing.B) {
	m, p := benchmarkStore()
	o, err := m.Object(ctx, p)
	if err != nil {
		b.Fatal(err)
	}
	g := flight.NewGroup(ctx)
	defer g.Close()
	maker := layer.Maker{Store: m, Cache: new(digests.Memory), Group: g, Hashing: &flight.Queue{Running: 1}}
	r := layer.Recipe{Format: layer.StorePaths, Objects: []layer.Ref{layer.RefOf(o)}, Owner: layer.Root, MTime: 1}
	info, err := maker.Describe(ctx, r)
	if err != nil {
		b.Fatal(err)
	}
	l, err := maker.Open(ctx, r, info.DiffID)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(l.Size())
	for b.Loop() {
		if err := l.WriteRange(ctx, io.Discard, 0, l.Size()); err != nil {
			b.Fatal(err)
		}
	}
}
