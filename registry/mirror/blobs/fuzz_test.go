package blobs

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"sync"
	"testing"
)

// stepped gives away a piece for each step.
type stepped struct {
	io.Reader
	steps chan int
}

func (s stepped) Read(p []byte) (int, error) {
	n, ok := <-s.steps
	if !ok {
		n = len(p)
	}
	return s.Reader.Read(p[:max(1, min(n, len(p)))])
}

// FuzzGrowing reads ranges of a blob that arrives in pieces, and is the right one or not. Each byte of the script is a
// piece or a range.
func FuzzGrowing(f *testing.F) {
	f.Add(uint64(1), uint16(1000), true, []byte{10, 0, 255, 3, 128, 129, 130, 9})
	f.Add(uint64(2), uint16(1), true, []byte{})
	f.Add(uint64(3), uint16(700), false, []byte{200, 1, 201, 127, 250})
	f.Fuzz(func(t *testing.T, seed uint64, size uint16, right bool, script []byte) {
		if size == 0 || len(script) > 100 {
			t.Skip()
		}
		data := content(seed, int(size))
		sent := bytes.Clone(data)
		if !right {
			sent[int(seed%uint64(size))] ^= 1
		}
		c := open(t, Options{Max: int64(size) - int64(seed%2)}) // is kept or not
		steps := make(chan int)
		fetch := func(context.Context) (io.ReadCloser, int64, error) {
			return io.NopCloser(stepped{bytes.NewReader(sent), steps}), int64(size), nil
		}
		b := mustBlob(t, c, digest(data), fetch)
		reading, done := context.WithCancel(context.Background())
		go func() { // the fetch may end before the script does
			settle(c, digest(data))
			done()
		}()
		var wg sync.WaitGroup
		for i, s := range script {
			if s < 128 {
				select {
				case steps <- int(s) + 1:
				case <-reading.Done():
				}
				continue
			}
			off := int64(s-128) * int64(size) / 128
			n := 1 + int64(i)*int64(size-1)/100
			wg.Go(func() { wantFate(t, b, sent, off, min(n, int64(size)-off), right) })
		}
		close(steps)
		wg.Wait()
		settle(c, digest(data))
		wantTidy(t, c)
	})
}

// wantFate reads a range and wants it to be whole if the blob is right, else too short.
func wantFate(t *testing.T, b *Blob, sent []byte, off, n int64, right bool) {
	var got bytes.Buffer
	err := b.WriteRange(context.Background(), &got, off, n)
	whole := int64(got.Len()) == n
	if !bytes.HasPrefix(sent[off:off+n], got.Bytes()) {
		t.Errorf("%d bytes from %d on: wrong ones", n, off)
	}
	if right != (err == nil) || whole != right || !right && !errors.Is(err, ErrContent) {
		t.Errorf("%d bytes from %d on: got %d, %v", n, off, got.Len(), err)
	}
}

// FuzzKey reads names of files.
func FuzzKey(f *testing.F) {
	f.Add(keyOf(digest(nil).Hex))
	f.Add("")
	f.Fuzz(func(t *testing.T, name string) {
		if sum, ok := layout.Sum(name); ok && keyOf(hex.EncodeToString(sum[:])) != name {
			t.Errorf("%q is read as %x", name, sum)
		}
	})
}
