package layer

import (
	"context"
	"errors"
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/nixreg/nixreg/internal/diskcache"
)

// encode writes the encoded bytes of a body to w and returns the digest and size of the plain ones.
func (m *Maker) encode(ctx context.Context, r Recipe, b body, count func(int64), w io.Writer) (diffID v1.Hash, n int64, err error) {
	enc, err := r.Encoding.encoder(w)
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

// encodeAndKeep encodes a body whose digest is not known yet, and keeps the encoded bytes if there is a place for them. That they
// cannot be kept is no error: they are made again when they are wanted.
func (m *Maker) encodeAndKeep(ctx context.Context, r Recipe, b body) (info Info, err error) {
	out, file := newHasher(func(int64) {}), &sink{}
	if m.Blobs != nil {
		if file.fill, file.err = m.Blobs.cache.Create(); file.err == nil {
			defer func() {
				if err == nil && file.err == nil && info.Size <= m.Blobs.cache.Max {
					_ = file.fill.Commit(info.Digest.Hex)
				} else {
					file.fill.Discard()
				}
			}()
		}
	}
	info.DiffID, info.Tar, err = m.encode(ctx, r, b, m.progress(), io.MultiWriter(out, file))
	info.Digest, info.Size = out.sum()
	return info, err
}

// sink writes to a file. If that fails, it goes on without the file, or ends the work if must is set: a full disk must not keep a
// layer from being hashed.
type sink struct {
	fill *diskcache.Fill // nil: there is no cache
	must bool
	err  error
}

func (s *sink) Write(p []byte) (int, error) {
	if s.fill != nil && s.err == nil {
		_, s.err = s.fill.Write(p)
	}
	if s.must && s.err != nil {
		return 0, s.err
	}
	return len(p), nil
}

// errNotKept is matched by the error about a layer that cannot be written to the cache.
var errNotKept = errors.New("cannot be kept")

// writeEncoded writes a range of the encoded bytes: from the cache, which has them made if need be; or, if the cache cannot take
// them, by an encoding of the layer from its start.
func (l *Layer) writeEncoded(ctx context.Context, w io.Writer, off, n int64) error {
	if m := l.maker; m.Blobs != nil && l.info.Size <= m.Blobs.cache.Max {
		done, err := l.writeKept(ctx, w, off, n)
		if !errors.Is(err, errNotKept) {
			return err
		}
		off, n = off+done, n-done
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

// writeKept writes a range of the kept file. A file that changes before the first byte is made again.
func (l *Layer) writeKept(ctx context.Context, w io.Writer, off, n int64) (done int64, err error) {
	const tries = 3
	for try := 1; ; try++ {
		f, err := l.maker.Blobs.cache.Get(ctx, l.info.Digest.Hex, nil, l.fill)
		if err != nil {
			return 0, err
		}
		done, err := f.WriteRange(ctx, w, off, n)
		f.Close()
		if done > 0 || !errors.Is(err, diskcache.ErrChanged) || try == tries {
			return done, err
		}
	}
}

// fill makes the encoded bytes again.
func (l *Layer) fill(ctx context.Context, f *diskcache.Fill) error {
	m := l.maker
	release, err := m.Hashing.Acquire(ctx)
	if err != nil {
		return err
	}
	defer release()
	if err := f.Announce(l.info.Size); err != nil {
		return fmt.Errorf("%w: %w", errNotKept, err)
	}
	out, file := newHasher(func(int64) {}), &sink{fill: f, must: true}
	_, _, err = m.encode(ctx, l.recipe, l.body, m.progress(), io.MultiWriter(file, out))
	digest, _ := out.sum()
	switch {
	case file.err != nil && !errors.Is(file.err, diskcache.ErrSize):
		return fmt.Errorf("%w: %w", errNotKept, file.err)
	case err == nil && digest != l.info.Digest:
		return fmt.Errorf("layer %s was encoded as %s", l.info.Digest, digest)
	}
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
