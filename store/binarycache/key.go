package binarycache

import (
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"io/fs"
	"strings"
)

// PublicKey is a key whose signatures are trusted. Only [ParsePublicKey] makes one.
type PublicKey struct {
	name string
	key  ed25519.PublicKey
}

// ParsePublicKey reads "<name>:<base64>", as Nix's trusted-public-keys has it; white space around it is ignored.
// Anything else gives an error matching [fs.ErrInvalid].
func ParsePublicKey(s string) (PublicKey, error) {
	name, text, ok := strings.Cut(strings.TrimSpace(s), ":")
	key, err := base64.StdEncoding.DecodeString(text)
	if !ok || name == "" || err != nil || len(key) != ed25519.PublicKeySize {
		return PublicKey{}, fmt.Errorf("public key %.100q: not of the form <name>:<base64 of 32 bytes>: %w", s, fs.ErrInvalid)
	}
	return PublicKey{name: name, key: key}, nil
}

// String is what [ParsePublicKey] reads.
func (k PublicKey) String() string { return k.name + ":" + base64.StdEncoding.EncodeToString(k.key) }

// signs reports whether signature, "<name>:<base64>", is k's of message.
func (k PublicKey) signs(message []byte, signature string) bool {
	name, text, _ := strings.Cut(signature, ":")
	if name != k.name {
		return false
	}
	sig, err := base64.StdEncoding.DecodeString(text)
	return err == nil && len(sig) == ed25519.SignatureSize && ed25519.Verify(k.key, message, sig)
}
