package layer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/nixreg/nixreg/internal/diskcache"
	"github.com/nixreg/nixreg/store"
)

// Open returns the recipe's layer, whose digest must be want. The error matches [fs.ErrNotExist] if a path is gone, or if its
// files were changed without Nix.
func (m *Maker) Open(ctx context.Context, r Recipe, want v1.Hash) (*Layer, error) {
	l, err := m.openLayer(ctx, r, want)
	if err != nil {
		return nil, m.replaced(r, err)
	}
	return l, nil
}

// Size returns the size in bytes of the layer that Open returns. It does not open the paths of a remote store, so that it does not
// find a path that a cache has lost, or a file that was changed.
func (m *Maker) Size(ctx context.Context, r Recipe, want v1.Hash) (int64, error) {
	refs := slices.Concat(r.Objects, r.Via)
	if store.IsDistant(m.Store) && !slices.ContainsFunc(refs, func(ref Ref) bool { return m.mutable(ref.Path) }) {
		if _, err := m.check(ctx, r); err != nil {
			return 0, m.replaced(r, err)
		}
		if info, err := m.remembered(ctx, r); err == nil && info.Digest == want {
			return info.Size, nil
		}
	}
	l, err := m.Open(ctx, r, want)
	if err != nil {
		return 0, err
	}
	return l.Size(), nil
}

func (m *Maker) openLayer(ctx context.Context, r Recipe, want v1.Hash) (*Layer, error) {
	epoch, err := m.check(ctx, r)
	if err != nil {
		return nil, err
	}
	b, err := m.body(ctx, r, epoch)
	if err != nil {
		return nil, err
	}
	info, err := m.remembered(ctx, r)
	if err != nil || info.Stamp != b.stamp() {
		m.forget(r)
		if info, err = m.hash(ctx, r, info.Stamp); err != nil {
			return nil, err
		}
		if b, err = m.body(ctx, r, epoch); err != nil {
			return nil, err
		}
	}
	if info.Digest != want || info.Stamp != b.stamp() || info.body(r) != b.size() {
		return nil, fmt.Errorf("layer %s%s: its files were changed: %w", want, r.first(), fs.ErrNotExist)
	}
	return &Layer{maker: m, recipe: r, info: info, body: b}, nil
}

// Layer is a layer with a known digest, ready to be served. Safe for concurrent use; it needs no Close.
type Layer struct {
	maker  *Maker
	recipe Recipe
	info   Info
	body   body
}

// Size is the number of bytes that are served.
func (l *Layer) Size() int64 { return l.info.Size }

// DiffID is the digest of the uncompressed tar.
func (l *Layer) DiffID() v1.Hash { return l.info.DiffID }

// maxRelinked bounds how often one call hashes a layer again because files were touched while they were read. Nix does that: its
// optimiser puts a link to an equal file in the place of a file, and its garbage collector takes links away.
const maxRelinked = 8

// WriteRange writes n bytes from offset off on. If a file was touched since it was hashed, the layer is hashed again, and goes on if it
// still has its digest. Else the error matches [store.ErrChanged] and [fs.ErrNotExist], and the last byte is not written.
func (l *Layer) WriteRange(ctx context.Context, w io.Writer, off, n int64) error {
	out := &counted{w: w}
	for try := 1; ; try++ {
		err := l.writeRange(ctx, out, off+out.n, n-out.n)
		if !errors.Is(err, store.ErrChanged) {
			return err
		}
		l.maker.forget(l.recipe)
		again, failed := l.maker.openLayer(ctx, l.recipe, l.info.Digest)
		if failed != nil || try == maxRelinked {
			return fmt.Errorf("layer %s: %w: %w", l.info.DiffID, err, fs.ErrNotExist)
		}
		l = again
	}
}

// counted counts the bytes that w takes. It passes large files on as they come, so that w can send them without a copy.
type counted struct {
	w io.Writer
	n int64
}

func (c *counted) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

func (c *counted) ReadFrom(r io.Reader) (int64, error) {
	n, err := io.Copy(c.w, r)
	c.n += n
	return n, err
}

func (l *Layer) writeRange(ctx context.Context, w io.Writer, off, n int64) error {
	if l.recipe.Encoding != Tar {
		return l.writeEncoded(ctx, w, off, n)
	}
	if l.recipe.Zstd { // the archive is decompressed from its start
		release, err := l.maker.Uncached.Acquire(ctx)
		if err != nil {
			return err
		}
		defer release()
	}
	return l.body.writeRange(ctx, l.maker.exact(&l.recipe), w, off, n)
}

// writeEncoded writes a range of the encoded bytes from the cache, which calls fill if it does not have them. If the cache cannot
// keep them, the layer is encoded from its start for this request.
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

// writeKept writes a range of the cached file. A file that changes before its first byte is written is made again.
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

// fill writes the encoded bytes to a file of the cache.
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
