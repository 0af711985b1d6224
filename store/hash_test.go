package store_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/nixreg/nixreg/store"
)

// The pairs are what nix-hash --to-base32 makes of the digits on the left; the first is SHA-256 of no bytes.
var hashes = []struct{ hex, base32 string }{
	{"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "0mdqa9w1p6cmli6976v4wi0sw9r4p5prkj7lzfd1877wk11c9c73"},
	{"df030807bd046fcc1fc868d58994d8ae0ee797d316bd7ad0d701342549e08b73", "0wwbw14jad01sz87mg8nsfbyf3mfv2a8kmb8r0gwqvq4pl3hh0yz"},
	{strings.Repeat("00", 32), strings.Repeat("0", 52)},
	{strings.Repeat("ff", 32), "1" + strings.Repeat("z", 51)},
}

func TestHash(t *testing.T) {
	for _, tt := range hashes {
		raw, err := hex.DecodeString(tt.hex)
		if err != nil {
			t.Fatal(err)
		}
		want := store.Hash(raw)
		for _, s := range []string{"sha256:" + tt.hex, "sha256:" + tt.base32, "sha256-" + base64.StdEncoding.EncodeToString(raw)} {
			if h, err := store.ParseHash(s); h != want || err != nil {
				t.Errorf("ParseHash(%q) = %v, %v; want %v", s, h, err, want)
			}
		}
		if want.String() != "sha256:"+tt.base32 {
			t.Errorf("String() = %q, want %q", want, tt.base32)
		}
		text, err := want.MarshalText()
		var back store.Hash
		if err != nil || back.UnmarshalText(text) != nil || back != want {
			t.Errorf("text %q reads back as %v (%v)", text, back, err)
		}
	}
}

func TestParseHashRefuses(t *testing.T) {
	h := hashes[0]
	for _, s := range []string{
		"", "sha256", "sha256:", "sha256-", h.hex, h.base32, "md5:" + h.hex, "sha512:" + h.hex, "sha256:" + h.hex[1:], "sha256:" + h.hex + "0",
		"sha256:" + strings.Replace(h.hex, "e", "g", 1), "sha256:" + strings.Replace(h.base32, "0", "e", 1), "sha256:2" + h.base32[1:],
		"sha256:z" + h.base32[1:], "sha256-" + h.hex, "sha256-AAAA", "sha256-!" + strings.Repeat("A", 43), " sha256:" + h.hex,
	} {
		if got, err := store.ParseHash(s); got != (store.Hash{}) || !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("ParseHash(%q) = %v, %v; want fs.ErrInvalid", s, got, err)
		}
	}
}

func FuzzParseHash(f *testing.F) {
	f.Add("sha256:" + hashes[0].hex)
	f.Add("sha256:" + hashes[0].base32)
	f.Add("sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=")
	f.Fuzz(func(t *testing.T, s string) {
		h, err := store.ParseHash(s)
		if err != nil {
			if h != (store.Hash{}) || !errors.Is(err, fs.ErrInvalid) {
				t.Fatalf("%v, %v", h, err)
			}
			return
		}
		if back, err := store.ParseHash(h.String()); back != h || err != nil {
			t.Fatalf("%q reads back as %v, %v", h, back, err)
		}
	})
}

func FuzzBase32(f *testing.F) {
	for n := range 40 {
		f.Add(bytes.Repeat([]byte{0xa5, 0xff, 0x01}, n)[:n])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s := store.EncodeBase32(b)
		if back, err := store.DecodeBase32(s); err != nil || !bytes.Equal(back, b) {
			t.Fatalf("%x becomes %q and reads back as %x, %v", b, s, back, err)
		}
		if out, err := store.DecodeBase32(string(b)); err == nil && store.EncodeBase32(out) != string(b) {
			t.Fatalf("%q is not the spelling of %x", b, out)
		}
	})
}
