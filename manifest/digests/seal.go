package digests

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
)

// recordKey keeps records apart from badger's own "!badger!" keys, and makes an empty key legal.
func recordKey(key string) []byte { return append([]byte{'r'}, key...) }

const (
	sealVersion = 1
	sealLen     = 1 + 16 // version, checksum
)

// seal puts a checksum of key and value before the value, so that a record that badger takes from the wrong place or file is
// noticed.
func seal(key string, value []byte) []byte {
	sum := recordSum(key, value)
	b := make([]byte, 0, sealLen+len(value))
	b = append(b, sealVersion)
	b = append(b, sum[:]...)
	return append(b, value...)
}

func unseal(key string, b []byte) ([]byte, error) {
	if len(b) < sealLen || b[0] != sealVersion {
		return nil, errors.New("damaged: no seal")
	}
	value := b[sealLen:]
	if recordSum(key, value) != [16]byte(b[1:sealLen]) {
		return nil, errors.New("damaged: wrong checksum")
	}
	return value, nil
}

func recordSum(key string, value []byte) (sum [16]byte) {
	h := sha256.New()
	h.Write(binary.AppendUvarint(nil, uint64(len(key))))
	h.Write([]byte(key))
	h.Write(value)
	copy(sum[:], h.Sum(nil))
	return sum
}
