package nar

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"runtime"
	"strings"
	"testing"

	"github.com/ulikunitz/xz"
)

func unxz(b []byte, size int64) ([]byte, error) {
	r, err := newXZReader(bytes.NewReader(b), size)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(r, size+1))
}

func toXZ(t testing.TB, cfg xz.WriterConfig, text []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := cfg.NewWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestXZ(t *testing.T) {
	text := []byte(strings.Repeat("some text, ", 10000))
	for _, cfg := range []xz.WriterConfig{
		{}, {BlockSize: 1000}, {CheckSum: xz.CRC32}, {CheckSum: xz.CRC64, BlockSize: 4097}, {CheckSum: xz.SHA256}, {NoCheckSum: true},
	} {
		cfg.DictCap = 1 << 20
		b := toXZ(t, cfg, text)
		if got, err := unxz(b, int64(len(text))); err != nil || !bytes.Equal(got, text) {
			t.Errorf("%+v: %d bytes, %v", cfg, len(got), err)
		}
		if got, err := unxz(b[:len(b)/2], int64(len(text))); err == nil {
			t.Errorf("%+v, cut in two: %d bytes, %v", cfg, len(got), err)
		}
		double := append(bytes.Clone(b), b...)
		if got, err := unxz(double, 2*int64(len(text))); err != nil || len(got) != 2*len(text) {
			t.Errorf("%+v, two streams: %d bytes, %v", cfg, len(got), err)
		}
	}
	if got, err := unxz(toXZ(t, xz.WriterConfig{}, nil), 1); err != nil || len(got) > 0 {
		t.Errorf("nothing: %q, %v", got, err)
	}
}

// withDictionary makes the first block of b ask for the dictionary of a code.
func withDictionary(t testing.TB, b []byte, code byte) []byte {
	t.Helper()
	b = bytes.Clone(b)
	head := b[xzStreamHead:][:int(b[xzStreamHead])*4]
	at, err := dictionaryAt(head)
	if err != nil {
		t.Fatal(err)
	}
	head[at] = code
	binary.LittleEndian.PutUint32(b[xzStreamHead+len(head):], crc32.ChecksumIEEE(head))
	return b
}

// A short stream gets no large dictionary, whatever it asks for; what has no need to fit is refused.
func TestXZMemory(t *testing.T) {
	text := []byte(strings.Repeat("some text, ", 1000))
	for code, name := range map[byte]string{28: "64 MiB", 30: "128 MiB", 40: "4 GiB"} {
		b := withDictionary(t, toXZ(t, xz.WriterConfig{}, text), code)
		var got []byte
		var err error
		used := allocated(func() { got, err = unxz(b, int64(len(text))) })
		if err != nil || !bytes.Equal(got, text) || used > 2<<20 {
			t.Errorf("%s: %d bytes, %v, %d bytes of memory", name, len(got), err, used)
		}
	}
	b := withDictionary(t, toXZ(t, xz.WriterConfig{}, text), 40)
	if got, err := unxz(b, 1<<30); err == nil {
		t.Errorf("4 GiB of dictionary for 1 GiB: %d bytes", len(got))
	}
	second := append(toXZ(t, xz.WriterConfig{}, text), b...)
	var err error
	if used := allocated(func() { _, err = unxz(second, 2*int64(len(text))) }); err == nil || used > 32<<20 {
		t.Errorf("4 GiB in a second stream: %v, %d bytes of memory", err, used)
	}
}

// allocated is the number of bytes that f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func TestXZBlockHeader(t *testing.T) {
	for _, tc := range []struct {
		name string
		head string
		want int // where the dictionary's size stands; 0: refused
	}{
		{"plain", "\x02\x00\x21\x01\x16\x00\x00\x00", 4},
		{"sizes", "\x03\xc0\x80\x01\xff\xff\x03\x21\x01\x16\x00\x00", 9},
		{"two filters", "\x02\x01\x04\x00\x21\x01\x16\x00", 0},
		{"x86 filter", "\x02\x00\x04\x00\x00\x00\x00\x00", 0},
		{"reserved flag", "\x02\x04\x21\x01\x16\x00\x00\x00", 0},
		{"endless size", "\x02\x40\xff\xff\xff\xff\xff\xff", 0},
		{"short", "\x01\x00\x21\x01", 0},
	} {
		got, err := dictionaryAt([]byte(tc.head))
		if got != tc.want || tc.want == 0 && !errors.Is(err, errFilters) {
			t.Errorf("%s: %d, %v; want %d", tc.name, got, err, tc.want)
		}
	}
}

func TestXZDictionary(t *testing.T) {
	for size, want := range map[int64]byte{1: 0, 4096: 0, 4097: 2, 1 << 20: 16, 1<<20 + 1: 18, 1 << 27: 30, 1<<27 + 1: 32, 1 << 40: 32} {
		if got := xzDictionary(size); got != want {
			t.Errorf("%d bytes: %d, want %d", size, got, want)
		}
	}
}

// Where both this reader and another one accept bytes, they agree.
func FuzzXZ(f *testing.F) {
	for _, s := range []string{"", "text", strings.Repeat("abc", 100)} {
		b := toXZ(f, xz.WriterConfig{DictCap: 4 << 10, BlockSize: 100}, []byte(s))
		f.Add(b)
		f.Add(append(b, b...))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		const size = 1 << 20
		got, err := unxz(b, size)
		if err != nil || len(got) > size {
			return
		}
		if shrinkXZDictionary(bufio.NewReader(bytes.NewReader(b)), 1) != nil {
			t.Error("accepted, but not by its header")
		}
		if largeDictionary(b) {
			return // the oracle would allocate it
		}
		r, err := xz.ReaderConfig{}.NewReader(bytes.NewReader(b))
		if err != nil {
			return
		}
		if want, err := io.ReadAll(r); err == nil && !bytes.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	})
}

// largeDictionary reports whether any byte that may be the start of a block's only filter asks for much memory.
func largeDictionary(b []byte) bool {
	for i := range len(b) - 2 {
		if b[i] == 0x21 && b[i+1] == 1 && b[i+2] > 20 {
			return true
		}
	}
	return false
}
