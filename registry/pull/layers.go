package pull

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"
)

// parallel is how many layers come at the same time.
const parallel = 4

// spooled is an uncompressed layer in a file that has no name any more.
type spooled struct {
	file *os.File
	size int64
}

// open returns the layer's bytes. The file stays open for the next one.
func (s *spooled) open() (io.ReadCloser, error) {
	return io.NopCloser(io.NewSectionReader(s.file, 0, s.size)), nil
}

// close closes what there is of the layers; in a file without a name there is nothing to lose.
func (img *image) close() {
	for _, l := range img.layers {
		if l != nil {
			l.file.Close() // again where a layer is repeated
		}
	}
}

// fetch gets the layers side by side, one that is repeated once.
func (p *Puller) fetch(ctx context.Context, repo string, img *image) error {
	all := img.manifest.Layers
	first, total, err := img.distinct()
	if err != nil {
		return err
	}
	meter := &meter{report: p.Progress, total: total}
	meter.add(0)
	img.layers = make([]*spooled, len(all))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for i, d := range all {
		if first[d.Digest] != i {
			continue
		}
		g.Go(func() (err error) {
			if img.layers[i], err = p.layer(ctx, repo, d, img.diffIDs[i], meter); err != nil {
				return fmt.Errorf("layer %d of %d (%s): %w", i+1, len(all), d.Digest, err)
			}
			return nil
		})
	}
	err = g.Wait()
	for i, d := range all {
		img.layers[i] = img.layers[first[d.Digest]]
	}
	return err
}

// distinct returns where each digest is first among the layers, and the compressed bytes of those.
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

// layer gets one layer, and verifies both of its digests.
func (p *Puller) layer(ctx context.Context, repo string, d v1.Descriptor, diffID v1.Hash, m *meter) (_ *spooled, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	body, err := p.Upstream.Blob(ctx, repo, d.Digest)
	if errors.Is(err, fs.ErrNotExist) && len(d.URLs) > 0 {
		return nil, fmt.Errorf("%w (kept elsewhere, at %.200q: servers that an image names are not asked)", err, d.URLs[0])
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
		return nil, cmp.Or(in.err, err) // of a layer that does not come to its end, no decompressor knows why
	}
	if err := in.end(d.Digest); err != nil {
		return nil, err
	}
	if got := out.digest(); got != diffID {
		return nil, corrupt("is %s when uncompressed, but %s in the configuration", got, diffID)
	}
	return &spooled{file: f, size: out.n}, nil
}

// nameless returns a new file in dir that has no name any more.
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

// compressed is a blob as it comes: it hashes and counts what is read, and ends with an error where the blob is longer
// or shorter than its descriptor says.
type compressed struct {
	r      io.Reader
	left   int64
	hashed *hashed
	meter  *meter
	err    error // the first error that is no end
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

// end reads what the decompressor left, and verifies the digest of the whole.
func (c *compressed) end(want v1.Hash) error {
	if _, err := io.Copy(io.Discard, c); err != nil {
		return err
	}
	if got := c.hashed.digest(); got != want {
		return corrupt("the registry's bytes are those of %s", got)
	}
	return nil
}

// meter adds up what has come of all layers.
type meter struct {
	report func(done, total int64)
	total  int64

	mu   sync.Mutex // guards done, and lets report run once at a time
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
