package layer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/nixreg/nixreg/internal/flight"
)

// encode writes the encoded bytes of a body to w and returns the digest and size of the plain ones.
func (m *Maker) encode(ctx context.Context, r Recipe, b body, count func(int64), w io.Writer) (diffID v1.Hash, n int64, err error) {
	enc, err := r.Encoding.encoder(w, m.zstdEncoder)
	if err != nil {
		return diffID, 0, err
	}
	h := newHasher(count)
	err = b.writeRange(ctx, m.exact(&r), io.MultiWriter(h, enc), 0, b.size())
	if closed := enc.Close(); closed != nil {
		err = closed // the reason, where output failed
	}
	diffID, n = h.sum()
	if err == nil && n != b.size() {
		err = fmt.Errorf("%d bytes where %d were announced: %w", n, b.size(), io.ErrUnexpectedEOF)
	}
	return diffID, n, err
}

// encodeAndKeep encodes a body, and keeps the outcome if there is a place for it.
func (m *Maker) encodeAndKeep(ctx context.Context, r Recipe, b body) (info Info, err error) {
	out := newHasher(func(int64) {})
	file := m.keeper()
	info.DiffID, info.Tar, err = m.encode(ctx, r, b, m.progress(), io.MultiWriter(out, file))
	info.Digest, info.Size = out.sum()
	file.end(info.Digest, info.Size, err == nil)
	return info, err
}

// keeper writes a blob to the cache as far as that is possible: a full disk must not keep a layer from being served.
type keeper struct {
	blobs *Blobs
	file  *os.File // nil: there is no cache, or it failed, or the blob is too large for it
	n     int64
}

func (m *Maker) keeper() *keeper {
	k := &keeper{blobs: m.Blobs}
	if k.blobs == nil {
		return k
	}
	if f, err := k.blobs.create(); err == nil {
		k.file = f
	}
	return k
}

func (k *keeper) Write(p []byte) (int, error) {
	if k.file != nil {
		k.n += int64(len(p))
		if _, err := k.file.Write(p); err != nil || !k.blobs.takes(k.n) {
			k.blobs.drop(k.file)
			k.file = nil
		}
	}
	return len(p), nil
}

// end keeps what was written, if it is whole. That it cannot be kept is no failure: it is made again then.
func (k *keeper) end(d v1.Hash, size int64, whole bool) {
	switch {
	case k.file == nil:
	case whole:
		_ = k.blobs.keep(k.file, d, size)
	default:
		k.blobs.drop(k.file)
	}
}

// writeEncoded writes a range of the encoded bytes: from the cache, after they were made again if need be; or, where
// they cannot be kept, by making them from the start and passing over what is not asked for.
func (l *Layer) writeEncoded(ctx context.Context, w io.Writer, off, n int64) error {
	if m := l.maker; m.Blobs != nil && m.Blobs.takes(l.info.Size) {
		if done, err := l.writeKept(ctx, w, off, n); err == nil || done > 0 || !errors.Is(err, errNotKept) {
			return err
		}
	}
	release, err := l.maker.Uncached.Acquire(ctx)
	if err != nil {
		return err
	}
	defer release()
	win := &window{w: w, skip: off, left: n}
	_, _, err = l.maker.encode(ctx, l.recipe, l.body, func(int64) {}, win)
	if win.left == 0 && errors.Is(err, errWindow) {
		return nil
	}
	return err
}

// writeKept writes a range of the kept file. One that is not there, or is not what was verified, is made again, as long as
// nothing was sent.
func (l *Layer) writeKept(ctx context.Context, w io.Writer, off, n int64) (done int64, err error) {
	const tries = 3
	for try := 1; ; try++ {
		done, err = l.maker.Blobs.writeRange(ctx, w, l.info.Digest, off, n)
		if done > 0 || !errors.Is(err, errNotKept) || try == tries {
			return done, err
		}
		if err := l.remake(ctx); err != nil {
			return 0, err
		}
	}
}

// remake sees to it that the cache has the layer, once however many ask: a file whose bytes are right after all is kept.
func (l *Layer) remake(ctx context.Context) error {
	m := l.maker
	_, err := flight.Once(ctx, m.Group, "blob/"+l.info.Digest.String(), func(ctx context.Context) (struct{}, error) {
		release, err := m.Hashing.Acquire(ctx)
		if err != nil {
			return struct{}{}, err
		}
		defer release()
		if err := m.Blobs.check(ctx, l.info.Digest, l.info.Size); !errors.Is(err, errNotKept) {
			return struct{}{}, err
		}
		info, err := m.encodeAndKeep(ctx, l.recipe, l.body)
		if err == nil && info.Digest != l.info.Digest {
			err = fmt.Errorf("layer %s was encoded as %s", l.info.Digest, info.Digest)
		}
		return struct{}{}, err
	})
	return err
}

// errWindow ends an encoding whose rest nobody wants.
var errWindow = errors.New("range is complete")

// window passes on the part of a stream that was asked for.
type window struct {
	w          io.Writer
	skip, left int64
}

func (x *window) Write(p []byte) (int, error) {
	all := len(p)
	cut := min(x.skip, int64(len(p)))
	x.skip -= cut
	p = p[cut:]
	part := p[:min(x.left, int64(len(p)))]
	if len(part) > 0 {
		n, err := x.w.Write(part)
		x.left -= int64(n)
		if err != nil {
			return 0, err
		}
	}
	if x.left == 0 && len(p) > len(part) {
		return 0, errWindow
	}
	return all, nil
}
