package layer

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"runtime"
	"sync"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/zstd"
)

const (
	gzipBlock  = 1 << 20
	gzipWindow = 32 << 10
	gzipLevel  = 6
	zstdBlock  = 4 << 20
)

// blockWriter compresses blocks concurrently and writes them in order. The output does not depend on the number of processors.
// Close must be called; its goroutines end with it.
type blockWriter struct {
	compress func(block, before []byte, last bool) ([]byte, error)
	block    []byte
	window   int // bytes of the previous block that are the dictionary of the next
	before   []byte
	queue    chan chan compressed // in order; its capacity bounds the blocks in memory
	failed   chan struct{}        // closed after an error of compression or output
	done     chan error
}

type compressed struct {
	b   []byte
	err error
}

func newBlockWriter(w io.Writer, size, window int, compress func(block, before []byte, last bool) ([]byte, error)) *blockWriter {
	b := &blockWriter{
		compress: compress, block: make([]byte, 0, size), window: window,
		queue: make(chan chan compressed, runtime.GOMAXPROCS(0)), done: make(chan error, 1),
		failed: make(chan struct{}),
	}
	go func() { b.done <- b.drain(w) }()
	return b
}

// drain writes the blocks in order. After an error it discards the rest, so that senders never block.
func (b *blockWriter) drain(w io.Writer) (err error) {
	for next := range b.queue {
		c := <-next
		if err != nil {
			continue
		}
		if err = c.err; err == nil {
			_, err = w.Write(c.b)
		}
		if err != nil {
			close(b.failed)
		}
	}
	return err
}

// errOutput ends the writes after an error; Close returns the reason.
var errOutput = errors.New("encoded bytes cannot be written")

func (b *blockWriter) Write(p []byte) (int, error) {
	select {
	case <-b.failed:
		return 0, errOutput
	default:
	}
	written := len(p)
	for len(p) > 0 {
		if len(b.block) == cap(b.block) { // only when more follows: Close sends the last block
			b.send(false)
		}
		n := copy(b.block[len(b.block):cap(b.block)], p)
		b.block, p = b.block[:len(b.block)+n], p[n:]
	}
	return written, nil
}

func (b *blockWriter) send(last bool) {
	block, before := b.block, b.before
	next := make(chan compressed, 1)
	b.queue <- next
	go func() {
		out, err := b.compress(block, before, last)
		next <- compressed{out, err}
	}()
	b.before = block[max(0, len(block)-b.window):]
	b.block = make([]byte, 0, cap(block))
}

func (b *blockWriter) Close() error {
	b.send(true)
	close(b.queue)
	return <-b.done
}

// gzipWriter writes one gzip member.
//
// Source: RFC 1952, section 2.3.
type gzipWriter struct {
	w      io.Writer
	blocks *blockWriter
	crc    hash.Hash32
	size   uint32
	err    error
}

// newGzip starts the member.
func newGzip(w io.Writer) (io.WriteCloser, error) {
	const unknownOS = 0xff
	z := &gzipWriter{w: w, crc: crc32.NewIEEE()}
	_, z.err = w.Write([]byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, unknownOS})
	z.blocks = newBlockWriter(w, gzipBlock, gzipWindow, deflate)
	return z, nil
}

// deflate compresses one block. The output ends at a byte boundary, so that the next block can follow.
func deflate(block, before []byte, last bool) ([]byte, error) {
	var out bytes.Buffer
	fw, err := flate.NewWriterDict(&out, gzipLevel, before)
	if err != nil {
		return nil, err
	}
	if _, err := fw.Write(block); err != nil {
		return nil, err
	}
	if last {
		err = fw.Close()
	} else {
		err = fw.Flush()
	}
	return out.Bytes(), err
}

func (z *gzipWriter) Write(p []byte) (int, error) {
	if z.err != nil {
		return 0, z.err
	}
	z.crc.Write(p)
	z.size += uint32(len(p))
	return z.blocks.Write(p)
}

func (z *gzipWriter) Close() error {
	if err := errors.Join(z.blocks.Close(), z.err); err != nil {
		return err
	}
	tail := binary.LittleEndian.AppendUint32(nil, z.crc.Sum32())
	_, err := z.w.Write(binary.LittleEndian.AppendUint32(tail, z.size))
	return err
}

// zstdEncoder is shared by all streams: each encoder of its own would hold tens of megabytes.
var zstdEncoder = sync.OnceValues(func() (*zstd.Encoder, error) {
	return zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithEncoderConcurrency(runtime.GOMAXPROCS(0)))
})

// newZstd returns a writer of one zstd frame per block.
func newZstd(w io.Writer) (io.WriteCloser, error) {
	enc, err := zstdEncoder()
	if err != nil {
		return nil, fmt.Errorf("zstd: %w", err)
	}
	return newBlockWriter(w, zstdBlock, 0, func(block, _ []byte, _ bool) ([]byte, error) {
		return enc.EncodeAll(block, nil), nil
	}), nil
}
