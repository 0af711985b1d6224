package binarycache

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/ulikunitz/xz"
)

func unxz(b []byte) ([]byte, error) {
	r, err := newXZReader(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

func TestXZ(t *testing.T) {
	text := []byte(strings.Repeat("some text, ", 10000))
	for _, cfg := range []xz.WriterConfig{
		{}, {BlockSize: 1000}, {CheckSum: xz.CRC32}, {CheckSum: xz.CRC64, BlockSize: 4097}, {CheckSum: xz.SHA256}, {NoCheckSum: true},
	} {
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
		if got, err := unxz(b.Bytes()); err != nil || !bytes.Equal(got, text) {
			t.Errorf("%+v: %d bytes, %v", cfg, len(got), err)
		}
		if got, err := unxz(b.Bytes()[:b.Len()/2]); err != io.ErrUnexpectedEOF {
			t.Errorf("%+v, cut in two: %d bytes, %v", cfg, len(got), err)
		}
	}
}

func TestXZBlockHeader(t *testing.T) {
	for _, tc := range []struct {
		name string
		head string
		want int // 0: refused
	}{
		{"8 MiB", "\x00\x21\x01\x16\x00\x00\x00", 8 << 20},
		{"sizes", "\xc0\x80\x01\xff\xff\x03\x21\x01\x16\x00\x00\x00", 8 << 20},
		{"128 MiB", "\x00\x21\x01\x1e\x00\x00\x00", 128 << 20},
		{"4 GiB", "\x00\x21\x01\x28\x00\x00\x00", 0},
		{"beyond", "\x00\x21\x01\x29\x00\x00\x00", 0},
		{"two filters", "\x01\x04\x00\x21\x01\x16\x00", 0},
		{"x86 filter", "\x00\x04\x00\x00\x00\x00\x00", 0},
		{"reserved flag", "\x04\x21\x01\x16\x00\x00\x00", 0},
		{"endless size", "\x40\xff\xff\xff\xff\xff\xff", 0},
	} {
		got, err := blockDictionary([]byte(tc.head))
		if (err != nil) != (tc.want == 0) || err == nil && got != tc.want {
			t.Errorf("%s: %d, %v; want %d", tc.name, got, err, tc.want)
		}
	}
}

// Where both this reader and the usual one accept bytes, they agree.
func FuzzXZ(f *testing.F) {
	for _, s := range []string{"", "text", strings.Repeat("abc", 100)} {
		var b bytes.Buffer
		w, err := xz.WriterConfig{DictCap: 4 << 10, BlockSize: 100}.NewWriter(&b)
		if err != nil {
			f.Fatal(err)
		}
		io.WriteString(w, s)
		w.Close()
		f.Add(b.Bytes())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := unxz(b)
		if err != nil {
			return // this includes too large a dictionary, which the oracle would allocate
		}
		r, err := xz.ReaderConfig{SingleStream: true}.NewReader(bytes.NewReader(b))
		if err != nil {
			return
		}
		if want, err := io.ReadAll(r); err == nil && !bytes.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	})
}
