package layer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/nixreg/nixreg/internal/flight"
	"github.com/nixreg/nixreg/store"
)

// Remembers reports whether want is the recorded digest of the recipe's bytes.
func (m *Maker) Remembers(ctx context.Context, r Recipe, want v1.Hash) bool {
	info, err := m.remembered(ctx, r)
	return err == nil && info.Digest == want
}

// Describe returns the digest and size of the recipe's bytes, from their record or by hashing them; concurrent calls hash once.
// The error matches [fs.ErrNotExist] if a store path is not valid any more, or was built again with other contents.
func (m *Maker) Describe(ctx context.Context, r Recipe) (Info, error) {
	if info, err := m.remembered(ctx, r); err == nil {
		return info, nil
	}
	return m.hash(ctx, r, "")
}

// Whiteouts returns the first few names of files that runtimes take for whiteouts. It hashes nothing. It opens the paths of the recipe,
// so for a remote store it downloads them.
func (m *Maker) Whiteouts(ctx context.Context, r Recipe) ([]string, error) {
	epoch, err := m.check(ctx, r)
	if err != nil {
		return nil, err
	}
	b, err := m.body(ctx, r, epoch)
	if err != nil {
		return nil, err
	}
	return whiteouts(b), nil
}

// hash hashes the recipe's bytes, unless they have a record with another stamp than stale.
func (m *Maker) hash(ctx context.Context, r Recipe, stale string) (Info, error) {
	return flight.Once(ctx, m.Group, recipeKey(r)+" not "+stale, func(ctx context.Context) (Info, error) {
		if info, err := m.remembered(ctx, r); err == nil && info.Stamp != stale {
			return info, nil
		}
		release, err := m.Hashing.Acquire(ctx)
		if err != nil {
			return Info{}, err
		}
		defer release()
		epoch, err := m.check(ctx, r)
		if err != nil {
			return Info{}, err
		}
		info, err := m.measure(ctx, r, epoch)
		for try := 1; errors.Is(err, store.ErrChanged) && try < maxRelinked; try++ {
			info, err = m.measure(ctx, r, epoch)
		}
		if err != nil {
			return Info{}, fmt.Errorf("hash layer: %w", err)
		}
		b, err := json.Marshal(info)
		if err != nil {
			return Info{}, err
		}
		return info, m.Cache.Put(ctx, recipeKey(r), b)
	})
}

// measure hashes a new body: a cached body may be that of older files.
func (m *Maker) measure(ctx context.Context, r Recipe, epoch string) (Info, error) {
	b, err := m.open(ctx, r)
	if err != nil {
		return Info{}, err
	}
	info, err := m.digest(ctx, r, b)
	if err != nil {
		return Info{}, err
	}
	m.keep(r, epoch, b)
	info.Stamp, info.Whiteouts = b.stamp(), whiteouts(b)
	return info, nil
}

func (m *Maker) body(ctx context.Context, r Recipe, epoch string) (body, error) {
	if b := m.cached(r, epoch); b != nil {
		return b, nil
	}
	b, err := m.open(ctx, r)
	if err != nil {
		return nil, err
	}
	m.keep(r, epoch, b)
	return b, nil
}

// open makes the body of a recipe. The caller has checked the recipe's paths.
func (m *Maker) open(ctx context.Context, r Recipe) (body, error) {
	switch r.Format {
	case StorePaths:
		ctx, stop := context.WithCancel(ctx)
		defer stop()
		m.prefetch(ctx, r)
		return openTable(ctx, m.exact(&r), r)
	case Symlinks:
		return openSymlinks(ctx, m.exact(&r), r)
	case Entries:
		return openEntries(r)
	case NixDB:
		return openNixDB(ctx, m.exact(&r), r)
	case Verbatim, Member:
		return m.openFile(ctx, r)
	}
	return nil, fmt.Errorf("layer format %q: %w", r.Format, errors.ErrUnsupported)
}

// prefetch starts the downloads of all paths from a remote store, which the body then opens one after the other.
func (m *Maker) prefetch(ctx context.Context, r Recipe) {
	if len(r.Objects) < 2 || !store.IsDistant(m.Store) {
		return
	}
	paths := make([]store.Path, len(r.Objects))
	for i, ref := range r.Objects {
		paths[i] = ref.Path
	}
	store.Prefetch(ctx, m.Store, paths)
}

// digest hashes a body and the bytes that are served of it.
func (m *Maker) digest(ctx context.Context, r Recipe, b body) (info Info, err error) {
	if r.Encoding != Tar {
		return m.encodeAndKeep(ctx, r, b)
	}
	if r.Packed != "" {
		return m.digestPacked(ctx, r, b)
	}
	h := newHasher(m.progress())
	err = b.writeRange(ctx, m.exact(&r), h, 0, b.size())
	info.DiffID, info.Tar = h.sum()
	info.Digest, info.Size = info.DiffID, info.Tar
	if err == nil && info.Tar != b.size() {
		err = fmt.Errorf("%d bytes where %d were announced: %w", info.Tar, b.size(), io.ErrUnexpectedEOF)
	}
	return info, err
}

// digestPacked hashes a compressed body and the tar inside it.
func (m *Maker) digestPacked(ctx context.Context, r Recipe, b body) (info Info, err error) {
	packed, plain := newHasher(m.progress()), newHasher(func(int64) {})
	out, in := io.Pipe()
	var writing sync.WaitGroup
	writing.Go(func() { in.CloseWithError(b.writeRange(ctx, m.exact(&r), in, 0, b.size())) })
	err = unpack(ctx, r.Packed, plain, io.TeeReader(out, packed), m.limit(b.size()))
	out.CloseWithError(err) // ends the goroutine
	writing.Wait()
	info.Digest, info.Size = packed.sum()
	info.DiffID, info.Tar = plain.sum()
	if err == nil && info.Size != b.size() {
		err = fmt.Errorf("%d bytes where %d were announced: %w", info.Size, b.size(), io.ErrUnexpectedEOF)
	}
	return info, err
}

// unpack writes the decompressed bytes of r to w, at most limit bytes.
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

// encodeAndKeep encodes a body whose digest is not known yet, and keeps the encoded bytes in the cache. A cache that cannot take
// them is no error: they are made again for each request.
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

// encode writes the encoded bytes of a body to w, and returns the digest and size of the body.
func (m *Maker) encode(ctx context.Context, r Recipe, b body, count func(int64), w io.Writer) (diffID v1.Hash, n int64, err error) {
	compress := codingOf(r.Encoding, "").compress
	if compress == nil {
		return diffID, 0, fmt.Errorf("layer encoding %q: %w", r.Encoding, errors.ErrUnsupported)
	}
	enc, err := compress(w)
	if err != nil {
		return diffID, 0, err
	}
	h := newHasher(count)
	err = b.writeRange(ctx, m.exact(&r), io.MultiWriter(h, enc), 0, b.size())
	if closed := enc.Close(); closed != nil {
		err = closed // the reason if the output failed
	}
	diffID, n = h.sum()
	if err == nil && n != b.size() {
		err = fmt.Errorf("%d bytes where %d were announced: %w", n, b.size(), io.ErrUnexpectedEOF)
	}
	return diffID, n, err
}
