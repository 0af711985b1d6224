package layer_test

import (
	"bytes"
	"testing"

	"nixreg/manifest/layer"
	"nixreg/store/storetest"
)

// TestArchiveAfterRestart: what lies in an archive is recorded, and the next process does not look through it again.
func TestArchiveAfterRestart(t *testing.T) {
	for _, p := range []layer.Packing{"", layer.Gzipped, layer.Zstandard} {
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
