package gunzip_test

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"

	kp "github.com/klauspost/compress/gzip"

	"github.com/nixreg/nixreg/manifest/layer/gunzip"
)

// text is n bytes that compress as text and programs do: words, runs, and some noise.
func text(n int) []byte {
	r := rand.New(rand.NewPCG(1, uint64(n)))
	words := strings.Fields("lib store hash elf symbol section 0123456789 nix hello world share doc man \x00\x00\x00\x00\x00\x00")
	b := make([]byte, 0, n+400)
	for len(b) < n {
		switch k := r.IntN(100); {
		case k == 0:
			b = append(b, bytes.Repeat([]byte{byte(r.Uint32())}, r.IntN(300))...)
		case k < 5:
			for range r.IntN(40) {
				b = append(b, byte(r.Uint32()))
			}
		default:
			b = append(append(b, words[r.IntN(len(words))]...), ' ')
		}
	}
	return b[:n]
}

func pack(t testing.TB, level int, data ...[]byte) []byte {
	t.Helper()
	var b bytes.Buffer
	for _, d := range data {
		zw, err := gzip.NewWriterLevel(&b, level)
		if err != nil {
			t.Fatal(err)
		}
		zw.Name, zw.Comment, zw.Extra = "a name", "a comment", []byte("extra")
		if _, err := zw.Write(d); err != nil {
			t.Fatal(err)
		}
		if err := zw.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

// build reads a file to its end.
func build(t testing.TB, file, want []byte) *gunzip.Index {
	t.Helper()
	x := new(gunzip.Index)
	var got bytes.Buffer
	if _, err := io.Copy(&got, gunzip.NewReader(bytes.NewReader(file), x)); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want) {
		t.Fatalf("%d other bytes, want %d", got.Len(), len(want))
	}
	if x.Size() != int64(len(want)) {
		t.Fatalf("size %d, want %d", x.Size(), len(want))
	}
	return x
}

// same compares n bytes from off on with what the whole holds there.
func same(t testing.TB, x *gunzip.Index, file, want []byte, off, n int64) {
	t.Helper()
	z, err := x.NewReader(bytes.NewReader(file), off)
	if err != nil {
		t.Fatalf("from %d: %v", off, err)
	}
	var got bytes.Buffer
	if _, err := io.CopyN(&got, z, n); err != nil {
		t.Fatalf("from %d: %v", off, err)
	}
	if !bytes.Equal(got.Bytes(), want[off:off+n]) {
		t.Fatalf("%d other bytes from %d on", n, off)
	}
}

// TestRanges: whoever packed a file, at whatever level, in one member or in several, it can be read from anywhere.
func TestRanges(t *testing.T) {
	data := text(3 << 20)
	noise := make([]byte, 3<<20) // in stored blocks
	for i, r := 0, rand.New(rand.NewPCG(2, 3)); i < len(noise); i++ {
		noise[i] = byte(r.Uint32())
	}
	mixed := bytes.Join([][]byte{data[:1<<20], noise, make([]byte, 4<<20), data[1<<20:]}, nil)
	for name, c := range map[string]struct{ file, want []byte }{
		"stored":          {pack(t, gzip.NoCompression, data), data},
		"fastest":         {pack(t, gzip.BestSpeed, data), data},
		"default":         {pack(t, gzip.DefaultCompression, data), data},
		"best":            {pack(t, gzip.BestCompression, data), data},
		"no matches":      {pack(t, gzip.HuffmanOnly, data), data},
		"noise":           {pack(t, 6, noise), noise},
		"mixed":           {pack(t, 6, mixed), mixed},
		"several members": {pack(t, 6, data[:100], nil, data[100:2<<20], data[2<<20:]), data},
		"another packer":  {other(t, data), data},
		"nothing":         {pack(t, 6, nil), nil},
	} {
		t.Run(name, func(t *testing.T) {
			x := build(t, c.file, c.want)
			size := int64(len(c.want))
			if points := x.Weight() >> 15; size > 0 && points < size/(4<<20) {
				t.Errorf("%d points for %d bytes", points, size)
			}
			r := rand.New(rand.NewPCG(4, 5))
			thin := x.Thinner()
			for range 10 {
				off := r.Int64N(size + 1)
				same(t, x, c.file, c.want, off, min(size-off, r.Int64N(300_000)))
				same(t, thin, c.file, c.want, off, min(size-off, r.Int64N(300_000)))
			}
			if thin.Weight() > x.Weight()*2/3 && x.Weight() > 1<<15 {
				t.Errorf("the index takes %d bytes, %d when it is thinned", x.Weight(), thin.Weight())
			}
			same(t, x, c.file, c.want, 0, size)
			same(t, x, c.file, c.want, size, 0)
			for _, off := range []int64{-1, size + 1} {
				if _, err := x.NewReader(bytes.NewReader(c.file), off); !errors.Is(err, fs.ErrInvalid) {
					t.Errorf("from %d: %v", off, err)
				}
			}
		})
	}
}

func other(t testing.TB, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	zw, err := kp.NewWriterLevel(&b, 9)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := zw.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestIndexIsBounded: a large file has points further apart, not more of them.
func TestIndexIsBounded(t *testing.T) {
	for _, total := range []int64{1 << 30, 5 << 30, 64 << 30} {
		x := new(gunzip.Index)
		gunzip.Mark(x, total, 1<<20)
		if w := x.Weight(); w > 9<<20 || w < 4<<20 {
			t.Errorf("of %d bytes the index takes %d", total, w)
		}
	}
}

// header is that of a member, and tooFar a block whose only match is of bytes before the first.
const (
	header = "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
	tooFar = "\x03\x02\x00"
)

// TestDamaged: damage is told as such, and where reading fails the reason is.
func TestDamaged(t *testing.T) {
	data := text(300_000)
	file := pack(t, 6, data)
	flipped := func(at int) []byte {
		b := bytes.Clone(file)
		b[at] ^= 0x10
		return b
	}
	own := errors.New("disk on fire")
	for name, c := range map[string]struct {
		r    io.Reader
		want []error
	}{
		"empty":     {strings.NewReader(""), []error{io.ErrUnexpectedEOF, fs.ErrInvalid}},
		"not gzip":  {strings.NewReader("something else, of some length"), []error{fs.ErrInvalid}},
		"checksum":  {bytes.NewReader(flipped(len(file) - 6)), []error{fs.ErrInvalid}},
		"size":      {bytes.NewReader(flipped(len(file) - 2)), []error{fs.ErrInvalid}},
		"body":      {bytes.NewReader(flipped(len(file) / 2)), []error{fs.ErrInvalid}},
		"cut":       {bytes.NewReader(file[:len(file)/2]), []error{io.ErrUnexpectedEOF, fs.ErrInvalid}},
		"cut tail":  {bytes.NewReader(file[:len(file)-1]), []error{io.ErrUnexpectedEOF, fs.ErrInvalid}},
		"cut head":  {bytes.NewReader(file[:12]), []error{io.ErrUnexpectedEOF, fs.ErrInvalid}},
		"too far":   {strings.NewReader(header + tooFar), []error{fs.ErrInvalid}},
		"trailing":  {io.MultiReader(bytes.NewReader(file), strings.NewReader("rest")), []error{fs.ErrInvalid}},
		"own error": {io.MultiReader(bytes.NewReader(file[:1000]), iotest.ErrReader(own)), []error{own}},
		"stuck":     {io.MultiReader(bytes.NewReader(file[:1000]), stuck{}), []error{io.ErrNoProgress}},
	} {
		x := new(gunzip.Index)
		_, err := io.Copy(io.Discard, gunzip.NewReader(c.r, x))
		for _, want := range c.want {
			if !errors.Is(err, want) {
				t.Errorf("%s: %v, not %v", name, err, want)
			}
		}
		if len(c.want) == 1 && c.want[0] != fs.ErrInvalid && errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%s: taken for the input's fault: %v", name, err)
		}
		if _, err := x.NewReader(bytes.NewReader(file), 0); err == nil {
			t.Errorf("%s: an index of half a file is used", name)
		}
	}
}

type stuck struct{}

func (stuck) Read([]byte) (int, error) { return 0, nil }

// TestSmallReads: it does not matter in which pieces the input comes.
func TestSmallReads(t *testing.T) {
	data := text(200_000)
	file := pack(t, 6, data[:1], data[1:])
	for name, r := range map[string]io.Reader{
		"one byte": iotest.OneByteReader(bytes.NewReader(file)), "data with EOF": iotest.DataErrReader(bytes.NewReader(file)),
		"half": iotest.HalfReader(bytes.NewReader(file)),
	} {
		if got, err := io.ReadAll(gunzip.NewReader(r, nil)); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
}

// FuzzRange: whatever is packed, in whatever pieces and way, any range of it is what it was.
func FuzzRange(f *testing.F) {
	f.Add([]byte("hello hello hello"), uint8(6), uint16(5), uint32(3))
	f.Add(make([]byte, 1000), uint8(1), uint16(100), uint32(999))
	f.Fuzz(func(t *testing.T, seed []byte, level uint8, flush uint16, at uint32) {
		var data []byte // long enough for several points
		for i := 0; len(seed) > 0 && len(data) < 5<<19; i++ {
			data = append(append(data, seed...), byte(i), byte(i>>8))
		}
		var b bytes.Buffer
		zw, err := gzip.NewWriterLevel(&b, int(level%12)-2)
		if err != nil {
			t.Fatal(err)
		}
		for rest := data; len(rest) > 0; {
			n := min(len(rest), int(flush)*64+1000)
			zw.Write(rest[:n])
			zw.Flush()
			rest = rest[n:]
		}
		zw.Close()
		x := build(t, b.Bytes(), data)
		off := int64(at) % int64(len(data)+1)
		same(t, x, b.Bytes(), data, off, min(int64(len(data))-off, 1000))
	})
}

// FuzzReader: arbitrary input is sound, or is not, as Go's own decoder has it, and what is sound gives the same bytes.
func FuzzReader(f *testing.F) {
	for level := gzip.HuffmanOnly; level <= 9; level += 3 {
		f.Add(pack(f, level, text(3000))[30:])
	}
	f.Add([]byte{0x03, 0x00})
	f.Add([]byte(tooFar))
	f.Add([]byte("\x01\x05\x00\xfa\xffhello and more"))
	f.Fuzz(func(t *testing.T, b []byte) {
		const most = 1 << 20
		got, err := gunzip.Inflate(bytes.NewReader(b), most)
		in := bytes.NewReader(b) // of which Go takes no byte too many
		want, wantErr := io.ReadAll(io.LimitReader(flate.NewReader(in), most))
		if n := min(len(got), len(want)); !bytes.Equal(got[:n], want[:n]) {
			t.Fatalf("other bytes than Go's %d", len(want))
		}
		if len(got) >= most || len(want) == most {
			return
		}
		if (err == nil) != (wantErr == nil) || err == nil && len(got) != len(want) {
			t.Fatalf("%d bytes, %v; Go has %d, %v", len(got), err, len(want), wantErr)
		}
		if err != nil {
			return
		}
		file := append([]byte(header), b[:len(b)-in.Len()]...)
		file = binary.LittleEndian.AppendUint32(file, crc32.ChecksumIEEE(want))
		file = binary.LittleEndian.AppendUint32(file, uint32(len(want)))
		build(t, append(file, file...), append(want, want...))
	})
}

// The last range of a file costs about what the first one does, not what the whole costs.
func BenchmarkRange(b *testing.B) {
	data := text(128 << 20)
	file := pack(b, 6, data)
	x := build(b, file, data)
	for _, off := range []int64{0, int64(len(data)) - 100_000} {
		b.Run(fmt.Sprint(off), func(b *testing.B) {
			for range b.N {
				same(b, x, file, data, off, 100_000)
			}
		})
	}
	b.Run("without index", func(b *testing.B) {
		for range b.N {
			z := gunzip.NewReader(bytes.NewReader(file), nil)
			if _, err := io.CopyN(io.Discard, z, int64(len(data))); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkReader(b *testing.B) {
	data := text(32 << 20)
	file := pack(b, 6, data)
	for name, open := range map[string]func(io.Reader) (io.Reader, error){
		"own":       func(r io.Reader) (io.Reader, error) { return gunzip.NewReader(r, nil), nil },
		"indexed":   func(r io.Reader) (io.Reader, error) { return gunzip.NewReader(r, new(gunzip.Index)), nil },
		"library":   func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) },
		"klauspost": func(r io.Reader) (io.Reader, error) { return kp.NewReader(r) },
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			for range b.N {
				z, err := open(bytes.NewReader(file))
				if err != nil {
					b.Fatal(err)
				}
				if _, err := io.Copy(io.Discard, z); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
