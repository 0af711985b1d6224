package pull

import (
	"crypto/sha256"
	"fmt"
	"hash"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// hashed is a writer that knows the SHA-256 and the number of the bytes that passed.
type hashed struct {
	w    io.Writer
	hash hash.Hash
	n    int64
}

func newHashed(w io.Writer) *hashed { return &hashed{w: w, hash: sha256.New()} }

func (h *hashed) Write(b []byte) (int, error) {
	n, err := h.w.Write(b)
	h.hash.Write(b[:n])
	h.n += int64(n)
	return n, err
}

func (h *hashed) digest() v1.Hash {
	return v1.Hash{Algorithm: "sha256", Hex: fmt.Sprintf("%x", h.hash.Sum(nil))}
}
