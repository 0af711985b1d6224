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

	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/zstd"
)

// Encoding names how a layer's tar is compressed: the compressor, its version, its level and its blocks. The bytes of
// an encoding never change once released; a compressor that writes others is a new encoding with a new name. All that an
// encoding is stands in one row of encodings.
type Encoding string

// The encodings.
const (
	// Tar is no compression: the digest of a layer is then its diffID.
	Tar Encoding = ""
	// Gzip is one gzip member, level 6 of github.com/klauspost/compress v1.20, in blocks of 1 MiB that are compressed
	// side by side, each knowing the 32 KiB before it.
	Gzip Encoding = "gzip1"
	// Zstd is a frame for each 4 MiB, the default level of github.com/klauspost/compress v1.20.
	Zstd Encoding = "zstd1"
)

// encodings has a row for each encoding. A new one is a constant above and a row here.
var encodings = map[Encoding]struct {
	name  string // in settings
	media MediaTypes
	// coder returns a writer whose Close ends the encoded stream; it does not close w. Close must be called. nil is none.
	coder func(m *Maker, w io.Writer) (io.WriteCloser, error)
}{
	Tar:  {"tar", MediaTypes{types.OCIUncompressedLayer, types.DockerUncompressedLayer}, nil},
	Gzip: {"gzip", MediaTypes{types.OCILayer, types.DockerLayer}, newGzip},
	Zstd: {"zstd", MediaTypes{OCI: types.OCILayerZStd}, newZstd},
}

// MediaTypes are those of a layer, "" where the dialect has none for its encoding.
//
// Source: OCI image-spec 1.1, layer.md; Docker image manifest V2, schema 2.
type MediaTypes struct{ OCI, Docker types.MediaType }

// MediaTypes returns the media types of layers in the encoding; none of an unknown one.
func (e Encoding) MediaTypes() MediaTypes { return encodings[e].media }

// EncodingsByName returns all encodings by the names that settings have for them: tar, gzip, and so on.
func EncodingsByName() map[string]Encoding {
	byName := make(map[string]Encoding, len(encodings))
	for e, row := range encodings {
		byName[row.name] = e
	}
	return byName
}

const (
	gzipBlock  = 1 << 20
	gzipWindow = 32 << 10
	gzipLevel  = 6
	zstdBlock  = 4 << 20
)

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

func newGzip(_ *Maker, w io.Writer) (io.WriteCloser, error) {
	const unknownOS = 0xff
	z := &gzipWriter{w: w, crc: crc32.NewIEEE()}
	_, z.err = w.Write([]byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, unknownOS})
	z.blocks = newBlockWriter(w, gzipBlock, gzipWindow, deflate)
	return z, nil
}

// deflate compresses one block to whole bytes, so that the next one can follow.
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

// newZstd shares one encoder among all streams of a maker: each would hold tens of megabytes.
func newZstd(m *Maker, w io.Writer) (io.WriteCloser, error) {
	enc, err := m.zstdEncoder()
	if err != nil {
		return nil, fmt.Errorf("zstd: %w", err)
	}
	return newBlockWriter(w, zstdBlock, 0, func(block, _ []byte, _ bool) ([]byte, error) {
		return enc.EncodeAll(block, nil), nil
	}), nil
}

// zstdEncoder returns the encoder that all streams share.
func (m *Maker) zstdEncoder() (*zstd.Encoder, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var err error
	if m.zstd == nil {
		m.zstd, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithEncoderConcurrency(runtime.GOMAXPROCS(0)))
	}
	return m.zstd, err
}

// blockWriter compresses blocks side by side and writes them in order. What comes out does not depend on how many
// processors there are. Its goroutines end with Close.
type blockWriter struct {
	compress func(block, before []byte, last bool) ([]byte, error)
	block    []byte
	window   int // bytes of the block before that the next one knows
	before   []byte
	queue    chan chan compressed // in order; its capacity bounds the blocks in work
	failed   chan struct{}        // closed when nothing can be written any more
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

// drain writes what comes; after an error it takes the rest and throws it away, so that nobody waits.
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

// errOutput says that what is written leads nowhere any more; Close has the reason.
var errOutput = errors.New("encoded bytes cannot be written")

func (b *blockWriter) Write(p []byte) (int, error) {
	select {
	case <-b.failed:
		return 0, errOutput
	default:
	}
	written := len(p)
	for len(p) > 0 {
		if len(b.block) == cap(b.block) { // only when more follows: the last block is known as such
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
