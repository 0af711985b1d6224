package layer_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/nixreg/nixreg/manifest/layer"
	"github.com/nixreg/nixreg/store/storetest"
)

// TestArchiveAfterRestart: what lies in an archive is recorded, and the next process does not look through it again.
func TestArchiveAfterRestart(t *testing.T) {
	for _, p := range []layer.Compression{"", layer.Gzipped, layer.Zstandard} {
		s := storetest.New()
		path := s.Add("a.tar", storetest.Files{"": storetest.File(dockerArchive(t, p))})
		o := object(t, s, path)
		first := newMaker(t, s)
		a, err := first.Archive(ctx, o, "")
		if err != nil {
			t.Fatal(err)
		}
		want, err := a.Read(ctx, "manifest.json", 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		read := &counted{Store: s}
		next := newMaker(t, read)
		next.Cache = first.Cache
		if a, err = next.Archive(ctx, o, ""); err != nil {
			t.Fatal(err)
		}
		if got, err := a.Read(ctx, "manifest.json", 1<<20); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%q: %s, %v", p, got, err)
		}
		if n := read.read.Load(); n != 0 {
			t.Errorf("%q: %d bytes were read again", p, n)
		}
	}
}

// TestManyGzippedArchives: when the indexes of many archives are too large together, each becomes coarser; none is
// forgotten, so that no range needs the whole of its archive.
func TestManyGzippedArchives(t *testing.T) {
	if testing.Short() {
		t.Skip("computes for long in one goroutine")
	}
	const archives, many = 4, 20
	body := noise(16 << 20)
	s := storetest.New()
	read := &counted{Store: s}
	maker := newMaker(t, read)
	maker.LimitIndexes(archives * 120_000)
	file := pack(t, layer.Gzipped, archiveOf(t, body))
	var layers []*layer.Layer
	for i := range archives {
		p := s.Add(fmt.Sprint("image", i, ".tar.gz"), storetest.Files{"": storetest.File(string(file))})
		a, err := maker.Archive(ctx, object(t, s, p), "")
		if err != nil {
			t.Fatal(err)
		}
		r, err := a.Recipe("m0")
		if err != nil {
			t.Fatal(err)
		}
		layers = append(layers, mustOpen(t, maker, r))
	}
	read.read.Store(0)
	for i := range many {
		off := int64(len(body)) - int64(i) - 100
		var b bytes.Buffer
		if err := layers[i%archives].WriteRange(ctx, &b, off, 100); err != nil || !bytes.Equal(b.Bytes(), body[off:off+100]) {
			t.Fatalf("range %d: %d bytes, %v", i, b.Len(), err)
		}
	}
	if n := read.read.Load() / many; n > int64(len(file))*2/3 {
		t.Errorf("%d of %d bytes of an archive were read for each range", n, len(file))
	}
	if w := maker.IndexesWeight(); w > archives*120_000 {
		t.Errorf("indexes take %d bytes", w)
	}
}
