package store

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io/fs"
	"strings"
)

// Hash is a SHA-256 as Nix writes it for archives (NARs). The zero Hash means unknown.
type Hash [sha256.Size]byte

// ParseHash reads "sha256:<64 hex>", "sha256:<52 Nix base 32>" and the SRI form "sha256-<base64>".
// Anything else gives an error matching [fs.ErrInvalid].
func ParseHash(s string) (h Hash, err error) {
	bad := fmt.Errorf("hash %.100q: not a sha256 in hex, Nix base 32 or SRI: %w", s, fs.ErrInvalid)
	if b64, ok := strings.CutPrefix(s, "sha256-"); ok {
		b, err := base64.StdEncoding.DecodeString(b64)
		if err != nil || len(b) != len(h) {
			return h, bad
		}
		return Hash(b), nil
	}
	digits, ok := strings.CutPrefix(s, "sha256:")
	switch {
	case ok && len(digits) == hex.EncodedLen(len(h)):
		b, err := hex.DecodeString(digits)
		if err != nil {
			return h, bad
		}
		return Hash(b), nil
	case ok && len(digits) == base32Len(len(h)):
		b, err := DecodeBase32(digits)
		if err != nil {
			return h, bad
		}
		return Hash(b), nil
	}
	return h, bad
}

// String is "sha256:" and the hash in Nix's base 32, as narinfo files have it.
func (h Hash) String() string { return "sha256:" + EncodeBase32(h[:]) }

// MarshalText writes the form of [Hash.String].
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText reads what [ParseHash] reads.
func (h *Hash) UnmarshalText(b []byte) (err error) {
	*h, err = ParseHash(string(b))
	return err
}

func base32Len(n int) int { return (n*8 + 4) / 5 }

// EncodeBase32 writes b in Nix's base 32: five bits a digit, the last byte first.
//
// Source: Nix, libutil/hash.cc, printHash32.
func EncodeBase32(b []byte) string {
	out := make([]byte, 0, base32Len(len(b)))
	for n := base32Len(len(b)) - 1; n >= 0; n-- {
		bit := n * 5
		i, j := bit/8, bit%8
		c := uint16(b[i]) >> j
		if i+1 < len(b) {
			c |= uint16(b[i+1]) << (8 - j)
		}
		out = append(out, Base32[c&31])
	}
	return string(out)
}

// DecodeBase32 is the inverse of [EncodeBase32] and takes only what that writes: bits that no byte holds must be zero.
func DecodeBase32(s string) ([]byte, error) {
	out := make([]byte, len(s)*5/8)
	if base32Len(len(out)) != len(s) {
		return nil, fmt.Errorf("base 32 %.100q: no bytes have %d digits: %w", s, len(s), fs.ErrInvalid)
	}
	for n := range len(s) {
		digit := strings.IndexByte(Base32, s[len(s)-1-n])
		if digit < 0 {
			return nil, fmt.Errorf("base 32 digit %q: %w", s[len(s)-1-n], fs.ErrInvalid)
		}
		bit := n * 5
		i, j := bit/8, bit%8
		if i < len(out) {
			out[i] |= byte(digit << j)
		}
		carry := digit >> (8 - j)
		switch {
		case i+1 < len(out):
			out[i+1] |= byte(carry)
		case carry != 0 || i >= len(out) && digit != 0:
			return nil, fmt.Errorf("base 32 %.100q: trailing bits: %w", s, fs.ErrInvalid)
		}
	}
	return out, nil
}
