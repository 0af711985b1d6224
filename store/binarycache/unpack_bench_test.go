package binarycache

import (
	"crypto/sha256"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/nar"
	"github.com/nixreg/nixreg/store/storetest"
)

// BenchmarkUnpack measures one archive of 16 MiB of text that compresses about as well as programs do: decompressed, both
// hashes verified, written to nowhere.
func BenchmarkUnpack(b *testing.B) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var text strings.Builder
	for text.Len() < 16<<20 {
		text.WriteString(strings.Repeat("x", rnd.IntN(12)))
		text.WriteByte(byte(rnd.Uint32()))
	}
	archive := narOf("(", "type", "regular", "contents", text.String(), ")")
	p := storetest.NewFixture("a-1", storetest.Files{}).Path
	obj := store.Object{Entry: store.Entry{Path: p}, NarHash: sha256.Sum256(archive), NarSize: int64(len(archive))}
	for _, c := range []nar.Compression{nar.None, nar.XZ, nar.Zstd, nar.Gzip, nar.Brotli} {
		b.Run(string(c), func(b *testing.B) {
			file := compress(b, c, archive)
			n := &narinfo{object: obj, url: "nar/a", compression: c, fileHash: sha256.Sum256(file), fileSize: int64(len(file))}
			s := &Store{source: newFake(fstest.MapFS{n.url: {Data: file}}), maxNAR: 1 << 30}
			b.SetBytes(obj.NarSize)
			b.ReportAllocs()
			for b.Loop() {
				if err := s.unpack(b.Context(), n, io.Discard); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
