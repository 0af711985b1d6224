package layer

import (
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

const hashChunk = 256 << 10

// hasher is a writer that hashes on a goroutine of its own, so that reading the next bytes and hashing the last ones
// overlap. sum ends the goroutine and must be called exactly once.
type hasher struct {
	buf   []byte
	full  chan []byte
	empty chan []byte
	done  sync.WaitGroup
	h     hash.Hash
	n     int64
	count func(int64)
}

// newHasher makes a hasher; count is called with the length of each piece that was hashed.
func newHasher(count func(int64)) *hasher {
	const buffers = 4
	h := &hasher{full: make(chan []byte, buffers), empty: make(chan []byte, buffers), h: sha256.New(), count: count}
	for range buffers - 1 {
		h.empty <- make([]byte, 0, hashChunk)
	}
	h.buf = make([]byte, 0, hashChunk)
	h.done.Go(func() {
		for b := range h.full {
			h.h.Write(b)
			h.count(int64(len(b)))
			h.empty <- b[:0]
		}
	})
	return h
}

func (h *hasher) Write(p []byte) (int, error) {
	written := len(p)
	for len(p) > 0 {
		n := copy(h.buf[len(h.buf):cap(h.buf)], p)
		h.buf, p = h.buf[:len(h.buf)+n], p[n:]
		if len(h.buf) == cap(h.buf) {
			h.full <- h.buf
			h.buf = <-h.empty
		}
	}
	h.n += int64(written)
	return written, nil
}

func (h *hasher) sum() (digest v1.Hash, n int64) {
	h.full <- h.buf
	close(h.full)
	h.done.Wait()
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(h.h.Sum(nil))}, h.n
}
