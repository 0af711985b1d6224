package blobs

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// open opens a cache, with an origin.
func open(t testing.TB, o Options) *Origin {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	if o.Max == 0 {
		o.Max = 1 << 30
	}
	c, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.files.Spare = 0
	return c.Origin(0)
}

// content is n bytes that are the same for the same seed.
func content(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 0))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func digest(data []byte) v1.Hash {
	sum := sha256.Sum256(data)
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum[:])}
}

// origin has one blob, and counts.
type origin struct {
	data  []byte
	size  int64 // as it says
	calls atomic.Int32
	open  atomic.Int32 // bodies
}

func originOf(data []byte) *origin { return &origin{data: data, size: int64(len(data))} }

func (o *origin) fetch(context.Context) (io.ReadCloser, int64, error) {
	o.calls.Add(1)
	o.open.Add(1)
	return originBody{bytes.NewReader(o.data), o}, o.size, nil
}

type originBody struct {
	io.Reader
	o *origin
}

func (b originBody) Close() error {
	b.o.open.Add(-1)
	return nil
}

func (o *origin) want(t *testing.T, calls int32) {
	t.Helper()
	if n := o.calls.Load(); n != calls {
		t.Errorf("%d fetches, want %d", n, calls)
	}
	if n := o.open.Load(); n != 0 {
		t.Errorf("%d bodies are open", n)
	}
}

// held is an origin whose bytes come when the test sends them.
type held struct {
	size  int64
	calls atomic.Int32
	mu    sync.Mutex
	pipe  *io.PipeWriter // of the last fetch
}

func (h *held) fetch(ctx context.Context) (io.ReadCloser, int64, error) {
	h.calls.Add(1)
	r, w := io.Pipe()
	context.AfterFunc(ctx, func() { w.CloseWithError(ctx.Err()) })
	h.mu.Lock()
	defer h.mu.Unlock()
	h.pipe = w
	return r, h.size, nil
}

// send returns once all of it has been taken.
func (h *held) send(t *testing.T, p []byte) {
	t.Helper()
	if _, err := h.pipe.Write(p); err != nil {
		t.Fatal(err)
	}
}

func mustBlob(t testing.TB, c *Origin, d v1.Hash, fetch Fetch) *Blob {
	t.Helper()
	b, err := blobOf(context.Background(), t, c, d, fetch)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// blobOf keeps the Blob from the garbage collector, which is in no bubble of synctest.
func blobOf(ctx context.Context, t testing.TB, c *Origin, d v1.Hash, fetch Fetch) (*Blob, error) {
	b, err := c.Blob(ctx, d, fetch)
	t.Cleanup(func() { runtime.KeepAlive(b) })
	return b, err
}

// read fetches all of a blob.
func read(c *Origin, data []byte, fetch Fetch) error {
	b, err := c.Blob(context.Background(), digest(data), fetch)
	if err != nil {
		return err
	}
	return wantRange(b, data, 0, b.Size())
}

func mustRead(t testing.TB, c *Origin, data []byte, fetch Fetch) {
	t.Helper()
	if err := read(c, data, fetch); err != nil {
		t.Fatal(err)
	}
	settle(c, digest(data))
}

// wantRange reads a range of the blob that data is.
func wantRange(b *Blob, data []byte, off, n int64) error {
	var buf bytes.Buffer
	if err := b.WriteRange(context.Background(), &buf, off, n); err != nil {
		return err
	}
	if !bytes.Equal(buf.Bytes(), data[off:off+n]) {
		return fmt.Errorf("wrong bytes: %d from %d on", n, off)
	}
	return nil
}

// settle waits until what is under way for d from c has ended.
func settle(c *Origin, d v1.Hash) {
	for fetching(c, d) {
		runtime.Gosched()
	}
}

func fetching(c *Origin, d v1.Hash) bool {
	_, ok := c.Fetching(d)
	return ok
}

func fileOf(c *Origin, data []byte) string { return c.files.Path(keyOf(digest(data).Hex)) }

// wantTidy checks that nothing is left under way, in memory or on disk, and that what is kept adds up.
func wantTidy(t *testing.T, c *Origin) {
	t.Helper()
	temps, err := os.ReadDir(filepath.Join(c.files.Dir, "incoming"))
	if err != nil || len(temps) > 0 {
		t.Errorf("incoming: %d files, %v", len(temps), err)
	}
	var s Stats
	err = filepath.WalkDir(filepath.Join(c.files.Dir, "sha256"), func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			fi, err := d.Info()
			s.Blobs++
			s.Kept += fi.Size()
			return err
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	if got := c.Stats(); got != s {
		t.Errorf("the cache says %+v, its directory %+v", got, s)
	}
}

// recorder is a writer without ReadFrom.
type recorder struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (r *recorder) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.buf.Write(p)
}
