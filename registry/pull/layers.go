package pull

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"
)

// parallel bounds the layers that are downloaded at the same time.
const parallel = 4

// spooled is an uncompressed layer in a file without a name.
type spooled struct {
	file *os.File
	size int64
}

// open returns the bytes of the layer. Closing the reader leaves the file open for the next call.
func (s *spooled) open() (io.ReadCloser, error) {
	return io.NopCloser(io.NewSectionReader(s.file, 0, s.size)), nil
}

// closeAll closes the files of layers, some of which may be nil. A repeated layer is closed more than once.
func closeAll(layers []*spooled) {
	for _, l := range layers {
		if l != nil {
			l.file.Close()
		}
	}
}

// fetch downloads the layers at the same time, a repeated one once. The caller closes the layers, also after an error.
func (p *Puller) fetch(ctx context.Context, repo string, img *image) ([]*spooled, error) {
	all := img.manifest.Layers
	first, total, err := img.distinct()
	if err != nil {
		return nil, err
	}
	meter := &meter{report: p.Progress, total: total}
	meter.add(0)
	layers := make([]*spooled, len(all))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for i, d := range all {
		if first[d.Digest] != i {
			continue
		}
		g.Go(func() (err error) {
			if layers[i], err = p.layer(ctx, repo, d, img.diffIDs[i], meter); err != nil {
				return fmt.Errorf("layer %d of %d (%s): %w", i+1, len(all), d.Digest, err)
			}
			return nil
		})
	}
	err = g.Wait()
	for i, d := range all {
		layers[i] = layers[first[d.Digest]]
	}
	return layers, err
}

// distinct returns the first index of each digest among the layers, and the sum of their compressed bytes.
func (img *image) distinct() (first map[v1.Hash]int, total int64, err error) {
	all := img.manifest.Layers
	first = make(map[v1.Hash]int)
	for i, d := range all {
		j, repeated := first[d.Digest]
		switch {
		case !repeated:
			first[d.Digest] = i
			total += d.Size
		case img.diffIDs[j] != img.diffIDs[i] || all[j].Size != d.Size:
			return nil, 0, corrupt("layers %d and %d of %d have one digest, but not one size and DiffID", j+1, i+1, len(all))
		}
	}
	return first, total, nil
}

// layer downloads one layer, and verifies its digest and its diffID.
func (p *Puller) layer(ctx context.Context, repo string, d v1.Descriptor, diffID v1.Hash, m *meter) (_ *spooled, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	body, err := p.Upstream.Blob(ctx, repo, d.Digest)
	if errors.Is(err, fs.ErrNotExist) && len(d.URLs) > 0 {
		return nil, fmt.Errorf("%w (its bytes are at %.200q: nixreg asks no server that an image names)", err, d.URLs[0])
	}
	if err != nil {
		return nil, err
	}
	defer body.Close()
	f, err := nameless(p.Dir)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	in := &compressed{r: body, left: d.Size, hashed: newHashed(io.Discard), meter: m}
	out := newHashed(f)
	if err := uncompress(out, in); err != nil {
		return nil, cmp.Or(in.err, err) // a failed read is the cause of the error of the decompressor
	}
	if err := in.end(d.Digest); err != nil {
		return nil, err
	}
	if got := out.digest(); got != diffID {
		return nil, corrupt("is %s when uncompressed, but %s in the configuration", got, diffID)
	}
	return &spooled{file: f, size: out.n}, nil
}

// nameless makes a file in dir and removes its name.
func nameless(dir string) (*os.File, error) {
	f, err := os.CreateTemp(dir, ".nixreg-layer-")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// compressed is a blob that is being downloaded. It hashes and counts the bytes. Reading fails if the blob is longer or shorter
// than its descriptor says.
type compressed struct {
	r      io.Reader
	left   int64
	hashed *hashed
	meter  *meter
	err    error // the first error other than io.EOF
}

func (c *compressed) Read(p []byte) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	n, err := c.r.Read(p)
	if int64(n) > c.left {
		c.err = corrupt("has more bytes than the manifest says")
		return 0, c.err
	}
	c.left -= int64(n)
	_, _ = c.hashed.Write(p[:n])
	c.meter.add(int64(n))
	if err == io.EOF && c.left > 0 {
		err = corrupt("ends %d bytes early", c.left)
	}
	if err != io.EOF {
		c.err = err
	}
	return n, err
}

// end reads the bytes that the decompressor left, and verifies the digest of the blob.
func (c *compressed) end(want v1.Hash) error {
	if _, err := io.Copy(io.Discard, c); err != nil {
		return err
	}
	if got := c.hashed.digest(); got != want {
		return corrupt("the registry's bytes are those of %s", got)
	}
	return nil
}

// meter adds up the bytes of all layers.
type meter struct {
	report func(done, total int64)
	total  int64

	mu   sync.Mutex // guards done, and keeps calls of report apart
	done int64
}

func (m *meter) add(n int64) {
	if m.report == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.done += n
	m.report(m.done, m.total)
}

// hashed counts and hashes the bytes that are written.
type hashed struct {
	w    io.Writer
	hash hash.Hash
	n    int64
}

func newHashed(w io.Writer) *hashed { return &hashed{w: w, hash: sha256.New()} }

func (h *hashed) Write(b []byte) (int, error) {
	n, err := h.w.Write(b)
	h.hash.Write(b[:n])
	h.n += int64(n)
	return n, err
}

func (h *hashed) digest() v1.Hash {
	return v1.Hash{Algorithm: "sha256", Hex: fmt.Sprintf("%x", h.hash.Sum(nil))}
}
