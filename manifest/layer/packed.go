package layer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/zstd"

	"github.com/nixreg/nixreg/manifest/layer/gunzip"
)

// Packing is how bytes that somebody else made are compressed; "" is not at all. Unlike an [Encoding] it does not fix the
// bytes.
type Packing string

// The packings.
const (
	Gzipped   Packing = "gzip"
	Zstandard Packing = "zstd"
)

// MediaTypes returns the media types of the bytes of a recipe, packed or encoded.
func (r Recipe) MediaTypes() MediaTypes {
	switch r.Packed {
	case Gzipped:
		return Gzip.MediaTypes()
	case Zstandard:
		return Zstd.MediaTypes()
	}
	return r.Encoding.MediaTypes()
}

// maxZstdWindow bounds the memory of a decoder, in bytes: what zstd makes at its highest level, without --long.
const maxZstdWindow = 128 << 20

// sniffed is how many bytes tell the compression.
const sniffed = 6

// PackingOf tells by its first bytes how a file is compressed. Compressions that cannot be read give an error matching
// errors.ErrUnsupported.
func PackingOf(head []byte) (Packing, error) {
	starts := func(magic string) bool { return bytes.HasPrefix(head, []byte(magic)) }
	skippable := len(head) > 3 && head[0]&0xf0 == 0x50 && string(head[1:4]) == "\x2a\x4d\x18" // of zstd, as pzstd begins
	switch {
	case starts("\x1f\x8b"):
		return Gzipped, nil
	case starts("\x28\xb5\x2f\xfd"), skippable:
		return Zstandard, nil
	case starts("\xfd7zXZ\x00"), starts("BZh"):
		return "", fmt.Errorf("compressed with something else than gzip or zstd: %w", errors.ErrUnsupported)
	}
	return "", nil
}

// sniff reads the first bytes of r and tells how what follows is compressed.
func sniff(r io.Reader) (Packing, error) {
	head := make([]byte, sniffed)
	n, err := io.ReadFull(r, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return "", err
	}
	return PackingOf(head[:n])
}

// Packing tells how the bytes of a recipe, Verbatim or Member, are compressed.
func (m *Maker) Packing(ctx context.Context, r Recipe) (Packing, error) {
	b, err := m.openFile(ctx, r)
	if err != nil {
		return "", err
	}
	var start bytes.Buffer
	if err := b.writeRange(ctx, m.exact(&r), &start, 0, min(b.size(), sniffed)); err != nil {
		return "", err
	}
	return sniff(&start)
}

// open decompresses r, which it does not close. The index, if there is one, is built of gzip.
func (p Packing) open(r io.Reader, x *gunzip.Index) (io.ReadCloser, error) {
	switch p {
	case Gzipped:
		return io.NopCloser(gunzip.NewReader(r, x)), nil
	case Zstandard:
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxZstdWindow))
		if err != nil {
			return nil, invalid(err)
		}
		return z.IOReadCloser(), nil
	}
	return nil, fmt.Errorf("packing %q: %w", p, errors.ErrUnsupported)
}

// zstdRange writes n bytes, from byte off on, of what r holds compressed. It reads from the start each time: that costs
// time, while a decompressed copy would cost the space that the store saves.
func zstdRange(w io.Writer, r io.Reader, off, n int64) error {
	z, err := Zstandard.open(r, nil)
	if err != nil {
		return err
	}
	defer z.Close()
	return copyRange(w, z, off, n)
}

// digestPacked hashes the bytes of a packed body, and what they unpack to.
func (m *Maker) digestPacked(ctx context.Context, r Recipe, b body) (info Info, err error) {
	packed, plain := newHasher(m.progress()), newHasher(func(int64) {})
	out, in := io.Pipe()
	var writing sync.WaitGroup
	writing.Go(func() { in.CloseWithError(b.writeRange(ctx, m.exact(&r), in, 0, b.size())) })
	err = unpack(ctx, r.Packed, plain, io.TeeReader(out, packed), m.limit(b.size()))
	out.CloseWithError(err) // ends the writer
	writing.Wait()
	info.Digest, info.Size = packed.sum()
	info.DiffID, info.Tar = plain.sum()
	if err == nil && info.Size != b.size() {
		err = fmt.Errorf("%d bytes where %d were announced: %w", info.Size, b.size(), io.ErrUnexpectedEOF)
	}
	return info, err
}

// unpack writes to w what r unpacks to, at most so many bytes as limit.
func unpack(ctx context.Context, p Packing, w io.Writer, r io.Reader, limit int64) error {
	z, err := p.open(r, nil)
	if err != nil {
		return err
	}
	defer z.Close()
	if _, err := io.Copy(w, &boundedReader{ctx: ctx, r: z, limit: limit, left: limit}); err != nil {
		return invalid(err)
	}
	return nil
}

// writeDecoded writes a range of a layer in an archive that can be read from its start alone. How many do so at the same
// time is bounded.
func (l *Layer) writeDecoded(ctx context.Context, w io.Writer, off, n int64) error {
	release, err := l.maker.Uncached.Acquire(ctx)
	if err != nil {
		return err
	}
	defer release()
	return l.body.writeRange(ctx, l.maker.exact(&l.recipe), w, off, n)
}
