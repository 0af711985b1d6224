package nar

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// toZstd compresses as a stream does: without telling how long it will be.
func toZstd(t *testing.T, window int, text []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := zstd.NewWriter(&b, zstd.WithWindowSize(window))
	if err != nil {
		t.Fatal(err)
	}
	for part := text; len(part) > 0; part = part[min(len(part), 1000):] {
		if _, err := w.Write(part[:min(len(part), 1000)]); err != nil {
			t.Fatal(err)
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func unzstd(b []byte, size int64) ([]byte, error) {
	r, err := Zstd.Open(bytes.NewReader(b), size)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(io.LimitReader(r, size+1))
}

// A short stream gets no large window, whatever it asks for.
func TestZstdMemory(t *testing.T) {
	text := []byte(strings.Repeat("some text, ", 2000))
	for _, window := range []int{1 << 10, 8 << 20, 128 << 20, 512 << 20} {
		b := toZstd(t, window, text)
		if single := b[4]&0x20 != 0; single {
			t.Fatal("the frame has no window of its own")
		}
		var got []byte
		var err error
		used := allocated(func() { got, err = unzstd(b, int64(len(text))) })
		if err != nil || !bytes.Equal(got, text) || used > 4<<20 {
			t.Errorf("window %d: %d bytes, %v, %d bytes of memory", window, len(got), err, used)
		}
	}
	if got, err := unzstd(toZstd(t, 512<<20, text), 1<<30); err == nil {
		t.Errorf("a window of 512 MiB: %d bytes", len(got))
	}
	two := append(toZstd(t, 1<<20, text), toZstd(t, 1<<20, text)...)
	if got, err := unzstd(two, 2*int64(len(text))); err != nil || len(got) != 2*len(text) {
		t.Errorf("two frames: %d bytes, %v", len(got), err)
	}
}

func TestRoundUp(t *testing.T) {
	for n, want := range map[int64]int64{0: 4096, 1: 4096, 4096: 4096, 4097: 8192, 1 << 20: 1 << 20, 1<<20 + 1: 1 << 21, 1<<62 + 1: 1 << 62} {
		if got := roundUp(n); got != want {
			t.Errorf("%d: %d, want %d", n, got, want)
		}
	}
}

// A smaller window changes nothing of what is read.
func FuzzZstd(f *testing.F) {
	for _, s := range []string{"", "text", strings.Repeat("abc", 100)} {
		w, err := zstd.NewWriter(nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(w.EncodeAll([]byte(s), nil))
	}
	f.Add([]byte("\x28\xb5\x2f\xfd\x00\x58\x21\x00\x00text"))
	f.Fuzz(func(t *testing.T, b []byte) {
		const size = 64 << 10
		got, err := unzstd(b, size)
		if err != nil || len(got) > size {
			return
		}
		r, err := zstd.NewReader(bytes.NewReader(b), zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(8<<20))
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if want, err := io.ReadAll(r); err == nil && !bytes.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	})
}
