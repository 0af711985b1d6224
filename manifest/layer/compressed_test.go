package layer_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/nixreg/nixreg/internal/flight"
	"github.com/nixreg/nixreg/manifest/digests"
	"github.com/nixreg/nixreg/manifest/layer"
	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/storetest"
)

func hexSum(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// archiveOf is a docker-archive with members of these bytes: m0, m1 and so on.
func archiveOf(t testing.TB, members ...[]byte) []byte {
	t.Helper()
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	for i, data := range members {
		if err := tw.WriteHeader(&tar.Header{Name: fmt.Sprint("m", i), Size: int64(len(data)), Mode: 0o644}); err != nil {
			t.Fatal(err)
		}
		if _, err := tw.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestPackedMember: bytes that are compressed already stay as they are, and the diffID is that of what they unpack to.
func TestPackedMember(t *testing.T) {
	plain := []byte(strings.Repeat("a layer ", 100_000))
	for _, packing := range packings {
		for _, outer := range packings {
			packed := pack(t, packing, plain)
			m := storetest.New()
			p := m.Add("image.tar", storetest.Files{"": storetest.File(string(pack(t, outer, archiveOf(t, packed))))})
			maker := newMaker(t, m)
			a, err := maker.Archive(ctx, object(t, m, p), "")
			if err != nil {
				t.Fatal(err)
			}
			r, err := a.Recipe("m0")
			if err != nil || r.Packed != packing {
				t.Errorf("packed with %q, found %q, %v", packing, r.Packed, err)
			}
			info := describe(t, maker, r)
			if info.Digest.Hex != hexSum(packed) || info.Size != int64(len(packed)) || info.DiffID.Hex != hexSum(plain) || info.Tar != int64(len(plain)) {
				t.Errorf("%q in %q: %+v", packing, outer, info)
			}
			l, err := maker.Open(ctx, r, info.Digest)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(whole(t, l), packed) {
				t.Errorf("%q in %q: other bytes", packing, outer)
			}
		}
	}
}

// TestPackedDamage: what does not unpack is no layer, and one that is packed is not packed again.
func TestPackedDamage(t *testing.T) {
	plain := []byte(strings.Repeat("a layer ", 100_000))
	for _, packing := range packings[1:] {
		sound := pack(t, packing, plain)
		for name, b := range map[string][]byte{
			"truncated": sound[:len(sound)-3], "trailing": append(bytes.Clone(sound), "rest"...), "start alone": sound[:4],
		} {
			m := storetest.New()
			r := recipe(t, m, m.Add("layer", storetest.Files{"": storetest.File(string(b))}))
			r.Format, r.Packed = layer.Verbatim, packing
			if _, err := newMaker(t, m).Describe(ctx, r); !errors.Is(err, fs.ErrInvalid) {
				t.Errorf("%s, %s: %v", packing, name, err)
			}
			r.Encoding = layer.Gzip
			if _, err := newMaker(t, m).Describe(ctx, r); !errors.Is(err, fs.ErrInvalid) {
				t.Errorf("%s, %s, encoded again: %v", packing, name, err)
			}
		}
	}
}

// counted counts the bytes of files that are read.
type counted struct {
	store.Store
	read atomic.Int64
}

func (c *counted) Open(ctx context.Context, p store.Path) (store.Tree, error) {
	t, err := c.Store.Open(ctx, p)
	return countedTree{t, c}, err
}

type countedTree struct {
	store.Tree
	c *counted
}

func (t countedTree) WriteFile(ctx context.Context, w io.Writer, nd store.Node, off, n int64) error {
	t.c.read.Add(n)
	return t.Tree.WriteFile(ctx, w, nd, off, n)
}

// noise is n bytes that hardly compress.
func noise(n int) []byte {
	b := make([]byte, n)
	x := uint32(1)
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	return b
}

// TestRangeOfAGzippedArchive: a range far behind is read from near it; the archive is read through once, and again only
// by another process.
func TestRangeOfAGzippedArchive(t *testing.T) {
	last := noise(100_000)
	file := pack(t, layer.Gzipped, archiveOf(t, noise(8<<20), last))
	m := storetest.New()
	s := &counted{Store: m}
	p := m.Add("image.tar.gz", storetest.Files{"": storetest.File(string(file))})
	maker := newMaker(t, s)
	maker.Hashing = &flight.Queue{Running: 1} // who hashes must not wait for himself
	a, err := maker.Archive(ctx, object(t, m, p), "")
	if err != nil {
		t.Fatal(err)
	}
	r, err := a.Recipe("m1")
	if err != nil {
		t.Fatal(err)
	}
	info := describe(t, maker, r)
	next := restarted(t, s, maker)
	next.Cache, next.Hashing = new(digests.Memory), &flight.Queue{Running: 1}
	if again := describe(t, next, r); again.DiffID != info.DiffID {
		t.Errorf("%+v, then %+v", info, again)
	}
	for _, maker := range []*layer.Maker{maker, next} {
		l, err := maker.Open(ctx, r, info.DiffID)
		if err != nil {
			t.Fatal(err)
		}
		s.read.Store(0)
		var b bytes.Buffer
		if err := l.WriteRange(ctx, &b, 99_000, 1000); err != nil || !bytes.Equal(b.Bytes(), last[99_000:]) {
			t.Errorf("%d bytes, %v", b.Len(), err)
		}
		if n := s.read.Load(); n > int64(len(file))/3 {
			t.Errorf("%d of %d bytes of the archive were read for the last thousand", n, len(file))
		}
	}
}

// BenchmarkGzippedArchive reads the last 64 KiB of an archive: with its index, and without, as it is where the index is
// not used.
func BenchmarkGzippedArchive(b *testing.B) {
	const size = 64 << 20
	m := storetest.New()
	file := pack(b, layer.Gzipped, archiveOf(b, bytes.Repeat(noise(1<<20), size>>20)))
	p := m.Add("image.tar.gz", storetest.Files{"": storetest.File(string(file))})
	o, err := m.Object(ctx, p)
	if err != nil {
		b.Fatal(err)
	}
	g := flight.NewGroup(ctx)
	b.Cleanup(g.Close)
	for _, c := range []struct {
		name string
		off  int64
	}{{"start", 0}, {"end", size - 64<<10}} {
		b.Run(c.name, func(b *testing.B) {
			maker := &layer.Maker{Store: m, Cache: new(digests.Memory), Group: g, Scanning: &flight.Queue{Running: 1}, Hashing: &flight.Queue{Running: 1}, Uncached: &flight.Queue{Running: 1}}
			a, err := maker.Archive(ctx, o, "")
			if err != nil {
				b.Fatal(err)
			}
			r, err := a.Recipe("m0")
			if err != nil {
				b.Fatal(err)
			}
			info, err := maker.Describe(ctx, r)
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				l, err := maker.Open(ctx, r, info.Digest)
				if err != nil {
					b.Fatal(err)
				}
				if err := l.WriteRange(ctx, io.Discard, c.off, 64<<10); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
