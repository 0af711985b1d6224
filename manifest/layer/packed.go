package layer

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync"
)

// Compression tells how the bytes of a recipe, Verbatim or Member, are compressed.
func (m *Maker) Compression(ctx context.Context, r Recipe) (Compression, error) {
	b, err := m.openFile(ctx, r)
	if err != nil {
		return "", err
	}
	var start bytes.Buffer
	if err := b.writeRange(ctx, m.exact(&r), &start, 0, min(b.size(), headBytes)); err != nil {
		return "", err
	}
	return readCompression(&start)
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
func unpack(ctx context.Context, p Compression, w io.Writer, r io.Reader, limit int64) error {
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
